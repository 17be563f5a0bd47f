/* Stream records that no worker writes: what a hostile or broken writer could append under the name of the job default/a, whose
 * input record is at offset 0 with timestamp 1000. */
#ifndef MR_TESTS_CLI_HOSTILE_H
#define MR_TESTS_CLI_HOSTILE_H

#include "base/str.h"

#define HOSTILE_AS(job, src, epoch, writer) "\"v\":1,\"job\":" job ",\"src\":" src ",\"epoch\":" epoch ",\"writer\":" writer
#define HOSTILE_START(epoch) \
    "{\"kind\":\"start\"," HOSTILE_AS("\"default/a\"", "\"0.1000\"", epoch, "\"0000000000000009\"") ",\"process\":\"0000000000000009\",\"cause\":\"takeover\",\"attempt\":2}"
#define HOSTILE_TOK(seq, ids, more) \
    "{\"kind\":\"tok\"," HOSTILE_AS("\"default/a\"", "\"0.1000\"", "1048576", "\"0000000000000009\"") ",\"seq\":" seq ",\"choice\":0,\"ids\":" ids \
    ",\"text\":\"x\",\"ctx\":\"0000000000000000\"" more "}"
#define HOSTILE_DONE(n) \
    "{\"kind\":\"done\"," HOSTILE_AS("\"default/a\"", "\"0.1000\"", "1048576", "\"0000000000000009\"") ",\"n\":" n ",\"ctx\":\"0000000000000000\"}"

static const struct {
    const char *json;
} hostile_values[] = {
    /* the other tenant's name */
    {"{\"kind\":\"start\"," HOSTILE_AS("\"acme/a\"", "\"0.1000\"", "9007199254740991", "\"0000000000000009\"") ",\"process\":\"0000000000000009\"}"},
    {"{\"kind\":\"done\"," HOSTILE_AS("\"acme/a\"", "\"0.1000\"", "1048576", "\"0000000000000009\"") ",\"n\":4,\"ctx\":\"0000000000000000\"}"},
    {"{\"kind\":\"yield\"," HOSTILE_AS("\"\"", "\"0.1000\"", "1", "\"0000000000000009\"") "}"},
    /* epochs */
    {HOSTILE_START("9007199254740992")}, {HOSTILE_START("9223372036854775807")}, {HOSTILE_START("9223372036854775808")}, {HOSTILE_START("1e300")},
    {HOSTILE_START("-1")}, {HOSTILE_START("-9223372036854775808")}, {HOSTILE_START("1048577.5")}, {HOSTILE_START("\"1048577\"")}, {HOSTILE_START("null")},
    {HOSTILE_START("true")}, {HOSTILE_START("[1048577]")}, {HOSTILE_START("{}")}, {HOSTILE_START("NaN")}, {HOSTILE_START("Infinity")},
    /* seq, ids, n */
    {HOSTILE_TOK("2147483648", "[1]", "")}, {HOSTILE_TOK("9223372036854775807", "[1]", "")}, {HOSTILE_TOK("-1", "[1]", "")}, {HOSTILE_TOK("0.5", "[1]", "")},
    {HOSTILE_TOK("NaN", "[1]", "")}, {HOSTILE_TOK("4", "[]", "")}, {HOSTILE_TOK("4", "[-1]", "")}, {HOSTILE_TOK("4", "[2147483648]", "")},
    {HOSTILE_TOK("4", "[1.5]", "")}, {HOSTILE_TOK("4", "\"1\"", "")}, {HOSTILE_TOK("4", "[\"1\"]", "")}, {HOSTILE_TOK("4", "[[1]]", "")},
    {HOSTILE_TOK("4", "[1]", ",\"choice\":1")}, {HOSTILE_TOK("4", "[1]", ",\"logprobs\":[]")}, {HOSTILE_TOK("4", "[1]", ",\"logprobs\":[{},{}]")},
    {HOSTILE_TOK("4", "[1]", ",\"logprobs\":[{\"id\":9e99,\"logprob\":\"x\",\"bytes\":[999,-1],\"top\":[null,7]}]")},
    {HOSTILE_DONE("2147483648")}, {HOSTILE_DONE("9223372036854775807")}, {HOSTILE_DONE("-1")}, {HOSTILE_DONE("4.0")}, {HOSTILE_DONE("null")}, {HOSTILE_DONE("4")},
    /* names of runs and writers */
    {"{\"kind\":\"yield\"," HOSTILE_AS("\"default/a\"", "\"-1.1000\"", "1", "\"0000000000000009\"") "}"},
    {"{\"kind\":\"yield\"," HOSTILE_AS("\"default/a\"", "\"0.1000.7\"", "1", "\"0000000000000009\"") "}"},
    {"{\"kind\":\"yield\"," HOSTILE_AS("\"default/a\"", "\"99999999999999999999.1\"", "1", "\"0000000000000009\"") "}"},
    {"{\"kind\":\"yield\"," HOSTILE_AS("\"default/a\"", "0", "1", "\"0000000000000009\"") "}"},
    {"{\"kind\":\"yield\"," HOSTILE_AS("\"default/a\"", "\"0.1000\"", "1", "\"00000000000000zz\"") "}"},
    {"{\"kind\":\"yield\"," HOSTILE_AS("\"default/a\"", "\"0.1000\"", "1", "9") "}"},
    {"{\"kind\":\"yield\"," HOSTILE_AS("7", "\"0.1000\"", "1", "\"0000000000000009\"") "}"},
    {"{\"kind\":\"finished\"," HOSTILE_AS("\"default/a\"", "\"0.1000\"", "1", "\"0000000000000009\"") "}"},
    {"{\"kind\":\"tok\",\"kind\":\"done\"," HOSTILE_AS("\"default/a\"", "\"0.1000\"", "1", "\"0000000000000009\"") "}"},
    {"{}"}, {"{"}, {"[]"}, {"null"}, {"\"start\""},
};
enum { HOSTILE_COUNT = sizeof hostile_values / sizeof *hostile_values };

static const struct mr_str hostile_bytes[] = {
    {NULL, 0},                                        /* a tombstone */
    {"", 0}, {"\xc1", 1}, {"\x81\xa5" "epoch\xcb\x7f\xf8\0\0\0\0\0\0", 16}, /* msgpack: never used; {epoch: NaN} */
    {"\x81\xa5" "epoch\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 16},           /* {epoch: 2^64 - 1} */
    {"\xdf\xff\xff\xff\xff", 5}, {"\xdd\xff\xff\xff\xff", 5}, {"\xdb\xff\xff\xff\xff", 5}, /* sizes past the bytes that there are */
    {"{\"kind\":\"\xff\"}", 12},                       /* not UTF-8 */
};
enum { HOSTILE_BYTES_COUNT = sizeof hostile_bytes / sizeof *hostile_bytes };

#endif
