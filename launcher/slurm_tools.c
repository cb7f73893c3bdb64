#include "launcher/cluster_ops.h"

int slurm_tools_open(struct cluster **out, struct mup_error *err)
{
    (void)out;
    return mup_fail(err, MUP_SYSTEM, "SLURM's tools are not there");
}
