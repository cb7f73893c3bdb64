/* Any bytes as a checkpoint's manifest: refused in a sentence, or parsed. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "model/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mup_error err = { 0 };
    json_t *manifest = NULL;
    int rc = checkpoint_parse_manifest((const char *)data, size, "fuzz",
                                       &manifest, &err);

    if (rc == MUP_OK)
        assert(json_is_array(json_object_get(manifest, "tensors")));
    else
        assert(rc == MUP_CORRUPT && err.text[0] && !manifest);
    json_decref(manifest);
    return 0;
}
