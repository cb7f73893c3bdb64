#include "model/ranks.h"

#include <string.h>

void ranks_alone(struct ranks *out)
{
    const struct comm one = { NULL, 0, 1, NULL };

    *out = (struct ranks){ .place = PLACE_ALONE, .all = one };
    out->world.size = 1;
    out->tensor = out->expert = out->dense = out->data = one;
}

static int split(struct ranks *r, struct mup_error *err)
{
    const struct place *p = &r->place;
    const struct layout *n = &p->n;
    int key = r->all.rank;
    int rc =
        comm_split(&r->all, (int)layout_batch_part(p), key, &r->tensor, err);

    if (!rc)
        rc = comm_split(&r->all, (int)(p->data * n->tensor + p->tensor), key,
                        &r->expert, err);
    if (!rc)
        rc = comm_split(&r->all, (int)p->tensor, key, &r->dense, err);
    if (!rc)
        rc = comm_split(&r->all, (int)(p->expert * n->tensor + p->tensor), key,
                        &r->data, err);
    return rc;
}

int ranks_open(const struct run_config *config, struct ranks *out,
               struct mup_error *err)
{
    struct layout layout;
    int rc;

    memset(out, 0, sizeof(*out));
    rc = comm_open(config->parallel.deadline_s, &out->world, &out->all, err);
    if (!rc)
        rc = layout_resolve(config, out->all.size, 0, &layout, err);
    if (rc)
        return rc;
    out->place = layout_place(&layout, out->all.rank);
    if (out->all.size > 1)
        return split(out, err);
    ranks_alone(out);
    return MUP_OK;
}

void ranks_close(struct ranks *r)
{
    struct comm *groups[] = { &r->tensor, &r->expert, &r->dense, &r->data,
                              &r->all };

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        comm_free(groups[i]);
    comm_close(&r->world);
}

struct comm *ranks_holders(struct ranks *ranks, int is_expert)
{
    return is_expert ? &ranks->data : &ranks->dense;
}
