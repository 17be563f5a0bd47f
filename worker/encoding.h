/* Which encoding a record is in (wire.md, Encoding), and the codec for it. */
#ifndef MR_WORKER_ENCODING_H
#define MR_WORKER_ENCODING_H

#include "adapters/codec/codec.h"
#include "worker/port.h"

enum mr_encoding { MR_ENCODING_JSON, MR_ENCODING_MSGPACK };

const struct mr_codec *mr_encoding_codec(enum mr_encoding encoding);
/* From the header content-type; without it a first byte '{' is JSON and anything else msgpack. false: a content type that is
 * neither; *out is then JSON, the encoding in which the refusal is written. */
bool mr_encoding_of(const struct mr_record *record, enum mr_encoding *out);
/* The value of the first header with this name (ASCII case ignored), or {NULL, 0}. */
struct mr_str mr_record_header(const struct mr_record *record, const char *name);

#endif
