/* Any bytes as a stream record: refused, or a record that encodes to what decodes to the same bytes again. */
#include "base/check.h"
#include "worker/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct mr_record in = {.value = {n ? (const char *)bytes : "", n}};
    struct mr_arena arena;
    struct mr_stream_record record, again;
    struct mr_buf first = {0}, second = {0};
    mr_arena_init(&arena, 64 << 20);
    if (mr_stream_record_decode(&in, &arena, &record, NULL) == MR_OK) {
        struct mr_stream_headers headers;
        CHECK(mr_stream_record_encode(&record, MR_ENCODING_MSGPACK, &first));
        in.value = mr_buf_view(&first);
        CHECK(mr_stream_record_decode(&in, &arena, &again, NULL) == MR_OK);
        CHECK(mr_stream_record_encode(&again, MR_ENCODING_MSGPACK, &second));
        CHECK(mr_str_equal(mr_buf_view(&first), mr_buf_view(&second)));
        mr_stream_record_headers(&record, MR_ENCODING_JSON, NULL, 0, &headers);
    }
    mr_buf_fini(&first);
    mr_buf_fini(&second);
    mr_arena_fini(&arena);
    return 0;
}
