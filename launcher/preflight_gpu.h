/* GPUs of this node, from what nvidia-smi answers, and what the kernel has said
 * about them (Xid messages).  Readers are pure; preflight_gpu_check asks. */
#ifndef LAUNCHER_PREFLIGHT_GPU_H
#define LAUNCHER_PREFLIGHT_GPU_H

#include <stddef.h>
#include <stdint.h>

/* Lines "INDEX, UUID, ERRORS, PENDING, FAILED", as nvidia-smi writes them for
 *     --query-gpu=index,uuid,ecc.errors.uncorrected.volatile.total,
 *                 remapped_rows.pending,remapped_rows.failure
 *     --format=csv,noheader,nounits
 * into bad, which gets "" or a sentence; anything else is bad too.  Returns the
 * number of GPUs. */
int preflight_gpu_read(const char *text, int64_t wanted, char *bad,
                       size_t bytes);

/* Kernel messages, any number of lines; bad as above. */
void preflight_xid_read(const char *text, char *bad, size_t bytes);
/* Does this Xid mean that its GPU cannot be used before it is reset? */
int preflight_xid_is_fatal(int64_t xid);

/* Ask both.  gpu_file, xid_file: read these in place of nvidia-smi and
 * /dev/kmsg (NULL: do not).  Kernel messages that this user may not read say
 * nothing: many sites keep them from all but root. */
int preflight_gpu_check(int64_t wanted, const char *gpu_file,
                        const char *xid_file, char *bad, size_t bytes);

#endif
