/* Any bytes as lines of a rank, and as mpirun's tagged output. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/heartbeat.h"
#include "launcher/tagged.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(void *context, int rank, const char *text)
{
    (void)context;
    assert(rank >= -1 && rank < 3);
    assert(strlen(text) < TAGGED_LINE_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct heartbeat_message m;
    struct tagged_end end = { .rank = -1 };
    struct tagged t;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (tagged_open(3, &t) == 0) {
        t.line = check_line;
        tagged_put(&t, text, size);
        tagged_close(&t);
    }
    for (char *line = text; line < text + size; line += strlen(line) + 1) {
        line[strcspn(line, "\n")] = '\0';
        tagged_read_end(line, &end);
        if (heartbeat_parse(line, &m) != 0)
            continue;
        assert(m.rank >= 0 && m.beat.compute_s >= 0 && m.status >= 0 &&
               m.beat.saved_step >= 0);
        assert(m.beat.phase >= 0 && m.beat.phase <= TRAIN_DONE);
    }
    free(text);
    return 0;
}
