/* Any bytes as a GGUF file. Holds: what is accepted lies inside the bytes (every tensor's ends are read), every getter answers or
 * says why, and a file whose shape is sound gets as far as weights on a device. */
#include "base/check.h"
#include "worker/model/shape.h"
#include "worker/model/weights.h"

#include <stdlib.h>

enum { ARENA_BYTES_MAX = 32 << 20, LAYERS_MAX = 8, WIDTH_MAX = 4096 };

static unsigned touch(const struct mr_gguf *gguf)
{
    unsigned sum = 0;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const struct mr_tensor *t = &gguf->tensors[i];
        CHECK(t->bytes > 0 && (const unsigned char *)t->data >= gguf->bytes + gguf->data_offset);
        sum += ((const unsigned char *)t->data)[0] + ((const unsigned char *)t->data)[t->bytes - 1];
    }
    return sum;
}

static void get_everything(const struct mr_gguf *gguf)
{
    struct mr_arena arena;
    mr_arena_init(&arena, ARENA_BYTES_MAX);
    for (size_t i = 0; i < gguf->n_keys; i++) {
        char name[MR_GGUF_NAME_BYTES_MAX + 1] = "";
        int64_t whole;
        double real;
        bool flag;
        struct mr_str text;
        const struct mr_str *texts;
        const int32_t *numbers;
        size_t n;
        memcpy(name, gguf->keys[i].name.p, gguf->keys[i].name.n);
        CHECK(mr_gguf_key_find(gguf, name) == &gguf->keys[i]);
        mr_gguf_int(gguf, name, INT64_MIN, INT64_MAX, &whole, NULL);
        mr_gguf_real(gguf, name, &real, NULL);
        mr_gguf_bool(gguf, name, &flag, NULL);
        if (mr_gguf_string(gguf, name, &text, NULL) == MR_OK && text.n)
            CHECK((const unsigned char *)text.p + text.n <= gguf->bytes + gguf->size);
        mr_gguf_ints(gguf, name, &arena, &numbers, &n, NULL);
        if (mr_gguf_strings(gguf, name, &arena, &texts, &n, NULL) == MR_OK)
            for (size_t k = 0; k < n; k++)
                CHECK((const unsigned char *)texts[k].p + texts[k].n <= gguf->bytes + gguf->size);
    }
    mr_arena_fini(&arena);
}

static void open_weights(const struct mr_gguf *gguf)
{
    struct mr_shape shape;
    struct mr_weights *weights;
    struct mr_device *device;
    struct mr_device_options options = {.threads = 1, .max_tokens = 1, .max_seqs = 1, .max_blocks = 1, .max_row_elements = WIDTH_MAX};
    struct mr_tensor_table table = {gguf->tensors, gguf->n_tensors};
    if (mr_shape_from_gguf(gguf, &shape, NULL) != MR_OK || shape.n_layers > LAYERS_MAX || shape.ffn > WIDTH_MAX || shape.hidden > WIDTH_MAX)
        return;
    CHECK(mr_ops_cpu()->open(&options, &device, NULL) == MR_OK);
    mr_weights_open(&table, &shape, mr_ops_cpu(), device, &weights, NULL);
    mr_weights_close(weights);
    mr_ops_cpu()->close(device);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct mr_gguf *gguf;
    struct mr_err err = {.text = ""};
    void *aligned = aligned_alloc(64, (size + 64) / 64 * 64); /* as a mapping is */
    CHECK(aligned);
    memcpy(aligned, data, size);
    if (mr_gguf_parse(aligned, size, &gguf, &err) == MR_OK) {
        CHECK(touch(gguf) <= MR_GGUF_TENSORS_MAX * 2u * 255);
        get_everything(gguf);
        open_weights(gguf);
        mr_gguf_close(gguf);
    } else {
        CHECK(err.text[0] && !gguf);
    }
    free(aligned);
    return 0;
}
