/* Any bytes as the answer of a node's check, of nvidia-smi, of the kernel and
 * of a debugger. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/agent.h"
#include "launcher/preflight.h"
#include "launcher/preflight_gpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || (unsigned char)*text > 126)
            return 0;
    return 1;
}

static void check_answer(const char *text)
{
    struct preflight_result r, again;
    char line[PREFLIGHT_JSON_BYTES];

    if (preflight_parse(text, &r, NULL) != MUP_OK)
        return;
    assert(is_plain(r.bad) && r.seconds >= 0 && r.gpus >= 0);
    preflight_format(&r, line, sizeof(line));
    assert(preflight_parse(line, &again, NULL) == MUP_OK);
    assert(!strcmp(r.bad, again.bad) && r.gpus == again.gpus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    char bad[PREFLIGHT_TEXT_BYTES], frames[64];

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    check_answer(text);
    assert(preflight_gpu_read(text, 1, bad, sizeof(bad)) >= 0);
    assert(is_plain(bad));
    preflight_xid_read(text, bad, sizeof(bad));
    assert(is_plain(bad));
    agent_stack_frames(text, frames, sizeof(frames));
    free(text);
    return 0;
}
