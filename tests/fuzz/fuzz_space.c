/* Any text is a sweep or one sentence; a sweep that was taken is written in a
 * form that reads back to the same study. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/sampler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct space *space)
{
    char *text = NULL, *spec, *again;
    struct space back;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);

    assert(f && space_dump(space, "", f, NULL) == MUP_OK && !fclose(f));
    /* Fixed values live in the base file, which is not written here; without
     * them the copy may be refused. */
    if (!space->fixed_count) {
        assert(space_open_text(text, bytes, "dump.yaml", &back, NULL) ==
               MUP_OK);
        assert(space_spec(space, &spec, NULL) == MUP_OK);
        assert(space_spec(&back, &again, NULL) == MUP_OK);
        assert(space_spec_extends(spec, again, NULL) == MUP_OK);
        assert(sampler_count(space) == sampler_count(&back));
        free(spec);
        free(again);
        space_close(&back);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mup_error err = { 0 };
    struct space_point point;
    struct space space;
    char *text = malloc(size + 1);

    memcpy(text, data, size);
    text[size] = '\0';
    /* A base names any file of this machine. */
    if (!strstr(text, "base")) {
        if (space_open_text(text, size, "fuzz.yaml", &space, &err)) {
            assert(err.text[0]);
        } else {
            assert(sampler_propose(&space, 0, NULL, 0, &point) == 1);
            check_round_trip(&space);
            space_close(&space);
        }
    }
    free(text);
    return 0;
}
