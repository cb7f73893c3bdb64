/* Memory and work of a run, without running it. */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "model/train.h"
#include "model/trainer.h"

/* Resident bytes of this process, from /proc/self/statm; 0 if unreadable. */
static int64_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long long size = 0, resident = 0;

    if (f) {
        if (fscanf(f, "%lld %lld", &size, &resident) != 2)
            resident = 0;
        (void)fclose(f); /* only read from */
    }
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

/* Resident memory that the program needs whatever it trains: its libraries
 * and the kernels that oneDNN generates at the first product. */
static int64_t base_bytes(struct backend *be)
{
    enum { N = 128 };
    size_t bytes = (size_t)N * N * dtype_bytes(be->dtype);
    char *memory = be->ops->alloc(be, 3 * bytes);
    int64_t resident;

    if (memory) {
        struct view a = view_of(memory, N, N);
        struct view b = view_of(memory + bytes, N, N);
        struct view c = view_of(memory + 2 * bytes, N, N);

        for (int form = 0; form < 4; form++)
            be->ops->gemm(be, c, a, b, form & 1, form >> 1, 1, 1);
    }
    resident = resident_bytes();
    if (memory)
        be->ops->free(be, memory);
    return resident;
}

static int64_t data_bytes(const struct run_config *c, struct mup_error *err,
                          int *rc)
{
    struct data train, valid;
    int64_t bytes;

    *rc = data_open(c->data.train, "train", c->model.seq, c->model.vocab,
                    (uint64_t)c->train.seed, c->train.batch, &train, err);
    if (*rc)
        return 0;
    *rc = data_open(c->data.valid, "valid", c->model.seq, c->model.vocab, 0, 1,
                    &valid, err);
    if (*rc) {
        data_close(&train);
        return 0;
    }
    bytes = data_resident_bytes(&train, c->train.steps * c->train.batch) +
            data_resident_bytes(&valid, c->data.valid_sequences);
    data_close(&train);
    data_close(&valid);
    return bytes;
}

int train_plan(const struct run_config *config, struct train_plan *out,
               struct mup_error *err)
{
    struct train_plan plan = { 0 };
    struct trainer t = { 0 };
    int rc = trainer_plan(config, NULL, &t, err);
    double per_step;

    if (rc)
        return rc;
    /* with the copy that checkpoints are written from (saver.h) */
    plan.peak_bytes = base_bytes(&t.be) + (int64_t)t.arena_bytes +
                      (int64_t)t.model.parameter_bytes +
                      (int64_t)t.optimizer.bytes + data_bytes(config, err, &rc);
    plan.parameters = t.model.params.whole;
    plan.active_parameters = t.model.params.active;
    plan.arena_bytes = (int64_t)t.arena_bytes;
    plan.parameter_bytes = (int64_t)t.model.parameter_bytes;
    plan.gradient_bytes = (int64_t)t.model.gradient_bytes;
    plan.optimizer_bytes = (int64_t)t.optimizer.bytes;
    plan.activation_bytes = (int64_t)t.model.activation_bytes;
    per_step = model_flops_per_sequence(&t.model.params, &config->model) *
               (double)config->train.batch;
    plan.flops_per_step = per_step;
    plan.flops = per_step * (double)config->train.steps;
    plan.tokens = config->train.steps * config->train.batch * config->model.seq;
    trainer_close(&t);
    if (!rc)
        *out = plan;
    return rc;
}
