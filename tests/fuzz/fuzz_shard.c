/* Any bytes as the header of a shard, in a file of any length: an answer or a
 * sentence, and an accepted header that agrees with the length. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/shard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char header[SHARD_HEADER_BYTES] = { 0 };
    struct mup_error err = { 0 };
    struct shard shard = { .tokens = -1 };
    uint64_t file_bytes;
    size_t given;
    int rc;

    /* Eight bytes: the length of the file; the rest: its beginning. */
    if (size < sizeof(file_bytes))
        return 0;
    memcpy(&file_bytes, data, sizeof(file_bytes));
    given = size - sizeof(file_bytes);
    if (given > sizeof(header))
        given = sizeof(header);
    memcpy(header, data + sizeof(file_bytes), given);
    /* A short input is a short header half of the time, and one padded with
     * zeros otherwise: so small inputs reach every check. */
    if (file_bytes & 1)
        given = sizeof(header);
    rc = shard_parse_header(header, given, file_bytes >> 1, "fuzz", &shard,
                            &err);
    if (rc == MUP_OK) {
        if (shard.tokens < 0 || shard.map ||
            (shard.token_bytes != 2 && shard.token_bytes != 4) ||
            SHARD_HEADER_BYTES +
                    (uint64_t)shard.tokens * (uint64_t)shard.token_bytes !=
                file_bytes >> 1)
            __builtin_trap();
    } else if (rc != MUP_CORRUPT || shard.tokens != -1 || !err.text[0]) {
        __builtin_trap();
    }
    return 0;
}
