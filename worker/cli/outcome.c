#include "worker/cli/outcome.h"

#include "adapters/codec/codec.h"

#include <stdio.h>
#include <unistd.h>

enum { OUTCOME_KEYS = 18 };

static void set_text(struct mr_value *map, const char *key, struct mr_str text)
{
    if (text.n)
        mr_value_set(map, key, mr_value_string(text));
}

static void set_ms(struct mr_value *map, const char *key, double ms)
{
    if (ms >= 0)
        mr_value_set(map, key, mr_value_float(ms));
}

struct mr_value mr_outcome_value(const struct mr_follow_run *run, bool with_text, struct mr_arena *arena)
{
    struct mr_value map = mr_value_map(arena, OUTCOME_KEYS);
    if (map.kind != MR_MAP)
        return map;
    mr_value_set(&map, "job", mr_value_string(run->name));
    mr_value_set(&map, "status", mr_value_string(mr_str_from(mr_follow_state(run))));
    mr_value_set(&map, "stream", mr_value_string(run->topic));
    mr_value_set(&map, "partition", mr_value_int(run->partition));
    mr_value_set(&map, "offset", mr_value_int(run->src.offset));
    mr_value_set(&map, "tokens", mr_value_int(run->fold.seq));
    mr_value_set(&map, "starts", mr_value_int(run->fold.starts));
    if (with_text)
        mr_value_set(&map, "text", mr_value_string(mr_buf_view(&run->text)));
    if (!run->fold.closed)
        return map;
    set_text(&map, "finish_reason", run->finish);
    if (run->reason != MR_REASON_NONE)
        mr_value_set(&map, "reason", mr_value_string(mr_str_from(mr_reason_name(run->reason))));
    set_text(&map, "message", run->message);
    set_text(&map, "moved_to", run->moved_to);
    set_text(&map, "first_topic", run->first.topic);
    if (run->first.topic.n)
        mr_value_set(&map, "first_offset", mr_value_int(run->first.offset));
    mr_value_set(&map, "prompt_tokens", mr_value_int(run->usage.prompt_tokens));
    set_ms(&map, "queue_ms", run->timings.queue_ms);
    set_ms(&map, "ttft_ms", run->timings.ttft_ms);
    set_ms(&map, "tpot_ms", run->timings.tpot_ms);
    return map;
}

void mr_outcome_print_json(const struct mr_value *value)
{
    struct mr_buf out = {0};
    mr_codec_json.encode(value, &out);
    mr_buf_add_char(&out, '\n');
    fwrite(out.p, 1, out.n, stdout);
    fflush(stdout);
    mr_buf_fini(&out);
}

void mr_outcome_say(const struct mr_follow_run *run)
{
    fprintf(stderr, "millrace: %.*s: %s", (int)run->name.n, run->name.p, mr_follow_state(run));
    if (run->finish.n)
        fprintf(stderr, " (%.*s)", (int)run->finish.n, run->finish.p);
    if (run->reason != MR_REASON_NONE)
        fprintf(stderr, ": %s: %.*s", mr_reason_name(run->reason), (int)run->message.n, run->message.p);
    if (run->first.topic.n)
        fprintf(stderr, " of %.*s partition %d offset %lld", (int)run->first.topic.n, run->first.topic.p, run->first.partition,
                (long long)run->first.offset);
    if (run->fold.seq)
        fprintf(stderr, ", %lld tokens", (long long)run->fold.seq);
    if (run->timings.ttft_ms > 0)
        fprintf(stderr, ", first token after %.0f ms", run->timings.ttft_ms);
    if (run->timings.tpot_ms > 0)
        fprintf(stderr, ", %.1f tok/s", 1000 / run->timings.tpot_ms);
    fputc('\n', stderr);
}

void mr_outcome_print_text(struct mr_str text)
{
    bool terminal = isatty(STDOUT_FILENO) == 1;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (terminal && ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f))
            fputs("\xef\xbf\xbd", stdout);
        else
            putchar(c);
    }
    fflush(stdout);
}
