/* Silent corruption: what is sealed, who is named, and what a run does.
 *
 * Run with arguments this program is one rank of a run, started under mpirun
 * by its own tests. */
#define _GNU_SOURCE /* mkdtemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "model/checkpoint.h"
#include "model/drill.h"
#include "model/random.h"
#include "model/seal.h"
#include "model/train.h"
#include "model/trainer.h"
#include "tests/mpirun.inc.h"

/* --- seals --- */

static void a_seal_finds_every_flipped_bit(void **state)
{
    enum { FLOATS = (1 << 16) * 2 + 77, TRIALS = 2000 };
    const struct random_key key = random_key(1, "test", "seal");
    float *x = malloc(FLOATS * sizeof(*x));
    struct seals s = { 0 };
    struct seal_range range = { x, sizeof(*x), 3, 10, FLOATS };
    struct mup_error err = { 0 };

    (void)state;
    assert_non_null(x);
    for (int i = 0; i < FLOATS; i++)
        x[i] = (float)random_normal(&key, (uint64_t)i);
    assert_int_equal(seals_add(&s, &range, &err), MUP_OK);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.list[2].first, 10 + 2 * SEAL_CHUNK);
    assert_int_equal(s.list[2].bytes, 77 * sizeof(*x));
    seals_take(&s, 0, s.n);
    assert_int_equal(seals_broken(&s, 0, s.n), -1);
    for (int t = 0; t < TRIALS; t++) {
        int64_t i = random_below(&key, (uint64_t)(FLOATS + t), FLOATS);
        int bit = (int)random_below(&key, (uint64_t)(FLOATS * 2 + t), 32);
        unsigned char *byte = (unsigned char *)&x[i] + bit / 8;
        int64_t chunk = i / SEAL_CHUNK;

        *byte = (unsigned char)(*byte ^ (1 << bit % 8));
        assert_int_equal(seals_broken(&s, chunk, chunk + 1), chunk);
        *byte = (unsigned char)(*byte ^ (1 << bit % 8));
        assert_int_equal(seals_broken(&s, chunk, chunk + 1), -1);
    }
    seals_clear(&s);
    free(x);
}

static void a_majority_names_the_one_that_is_alone(void **state)
{
    const uint64_t same[] = { 7, 7, 7, 7 }, last[] = { 7, 7, 7, 8 };
    const uint64_t first[] = { 8, 7, 7 }, two[] = { 7, 8 };
    const uint64_t half[] = { 7, 7, 8, 8 }, all[] = { 1, 2, 3 };
    const uint64_t wide[] = { 7, 0, 7, 1, 9, 2 };

    (void)state;
    assert_int_equal(seal_majority(same, 4, 1), SEAL_AGREE);
    assert_int_equal(seal_majority(same, 1, 1), SEAL_AGREE);
    assert_int_equal(seal_majority(last, 4, 1), 3);
    assert_int_equal(seal_majority(first, 3, 1), 0);
    assert_int_equal(seal_majority(two, 2, 1), SEAL_OPEN);
    assert_int_equal(seal_majority(half, 4, 1), SEAL_OPEN);
    assert_int_equal(seal_majority(all, 3, 1), SEAL_OPEN);
    assert_int_equal(seal_majority(wide, 3, 2), 2);
}

/* --- drills --- */

static void the_texts_of_drills_are_parsed(void **state)
{
    struct drill_config c = {
        .kill = "rank 1 step 20",
        .slow = " rank 0  ms 50 ",
        .flip = "rank 3 step 7 v blocks.0.moe.up bit 31 element 12",
        .slow_write = "rank 1 ms 30",
        .fail_write = "rank 0 write 5",
        .fill_disk = "rank 2 bytes 1000000",
    };
    struct mup_error err = { 0 };
    struct drill d;

    (void)state;
    assert_int_equal(drill_parse(&c, &d, &err), MUP_OK);
    assert_int_equal(d.kill.rank, 1);
    assert_int_equal(d.kill.number, 20);
    assert_int_equal(d.stop.rank, -1);
    assert_int_equal(d.slow.number, 50);
    assert_int_equal(d.slow_write.rank, 1);
    assert_int_equal(d.slow_write.number, 30);
    assert_int_equal(d.fail_write.number, 5);
    assert_int_equal(d.fill_disk.number, 1000000);
    assert_int_equal(d.flip.kind, DRILL_V);
    assert_string_equal(d.flip.tensor, "blocks.0.moe.up");
    assert_int_equal(d.flip.bit, 31);
    assert_int_equal(d.flip.element, 12);
    assert_int_equal(d.flip.times, 1);
    c = (struct drill_config){ .flip = "rank 0 step 1 copy embed bit 0" };
    assert_int_equal(drill_parse(&c, &d, &err), MUP_OK);
    assert_int_equal(d.flip.kind, DRILL_COPY);
    assert_int_equal(d.flip.element, -1);
    assert_int_equal(d.kill.rank, -1);
    assert_int_equal(d.fail_write.rank, -1);
}

static void a_bad_drill_names_its_key(void **state)
{
    static const struct {
        const char *key, *text;
    } bad[] = {
        { "kill", "rank 1" },
        { "kill", "rank 1 step 0" },
        { "kill", "rank -1 step 5" },
        { "kill", "rank 1 step 5x" },
        { "kill", "rank 1 step 5 6" },
        { "kill", "step 5 rank 1" },
        { "stop", "rank 1 step 99999999999999999999" },
        { "slow", "rank 0 step 5" },
        { "slow_write", "rank 0 bytes 5" },
        { "fail_write", "rank 0 write" },
        { "fill_disk", "rank 0 bytes 0" },
        { "flip", "rank 0 step 5 weight embed" },
        { "flip", "rank 0 step 5 weights embed bit 3" },
        { "flip", "rank 0 step 5 m embed bit 64" },
        { "flip", "rank 0 step 5 m embed bit 3 element" },
        { "flip", "rank 0 step 5 m embed bit 3 4" },
        { "flip", "rank 0 step 5 m embed bit 3 time 4" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mup_error err = { 0 };
        struct run_config c;
        char key[64], want[64];

        memset(&c, 0, sizeof(c));
        config_defaults(&run_schema, &c);
        snprintf(key, sizeof(key), "drill.%s", bad[i].key);
        snprintf(want, sizeof(want), "drill.%s: ", bad[i].key);
        assert_int_equal(config_set(&run_schema, &c, key, bad[i].text, &err),
                         MUP_OK);
        assert_int_equal(run_config_check(&c, &err), MUP_USAGE);
        assert_memory_equal(err.text, want, strlen(want));
    }
}

/* --- spikes --- */

static void a_spike_is_skipped_and_counted(void **state)
{
    struct spike s = { 0 };

    (void)state;
    for (int i = 0; i < SPIKE_LEAST; i++) {
        assert_true(spike_threshold(&s, 3) == 0);
        assert_int_equal(spike_is(&s, 3, i == 2 ? 1e9 : 1), 0);
    }
    assert_true(spike_threshold(&s, 3) == 3);
    assert_true(spike_threshold(&s, 0) == 0);
    assert_int_equal(spike_is(&s, 0, 100), 0);
    assert_int_equal(spike_is(&s, 3, 3.1), 1);
    assert_int_equal(spike_is(&s, 3, 3.1), 1);
    assert_int_equal(s.skipped, 2);
    assert_int_equal(s.in_row, 2);
    assert_int_equal(spike_is(&s, 3, 2.9), 0);
    assert_int_equal(s.skipped, 2);
    assert_int_equal(s.in_row, 0);
}

/* --- runs --- */

enum { MAX_KEYS = 16, MAX_NOTES = 8 };

struct scene {
    struct layout layout;
    const char *keys[MAX_KEYS]; /* key, value, ..., NULL */
};

static struct run_config make_config(void)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.width = 32;
    c.model.head_size = 8;
    c.model.kv_group = 1;
    c.model.experts = 4;
    c.model.seq = 12;
    c.model.vocab = 96;
    c.mup.base_width = 16;
    c.mup.base_head_size = 8;
    c.train.lr = 0.02;
    c.train.batch = 8;
    c.train.steps = 24;
    c.data.valid_sequences = 4;
    c.run.verify_every = 4;
    c.run.log_every = 1;
    c.parallel.deadline_s = 60;
    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "5");
    return c;
}

static int set_key(struct run_config *c, const char *key, const char *value)
{
    struct mup_error err = { 0 };
    int rc = config_set(&run_schema, c, key, value, &err);

    if (rc)
        fprintf(stderr, "%s\n", err.text);
    return rc;
}

static void write_note(void *context, const char *sentence)
{
    (void)context;
    fprintf(stderr, "note: %s\n", sentence);
}

/* DIR DATA EXPERT TENSOR KEY VALUE ... */
static int be_a_rank(int argc, char **argv)
{
    static const char *const ways[] = { "parallel.data", "parallel.expert",
                                        "parallel.tensor" };
    const struct train_hooks hooks = { .note = write_note };
    struct run_config c = make_config();
    struct train_result result;
    struct mup_error err = { 0 };
    int rc = MUP_OK;

    for (int i = 0; !rc && i < 3; i++)
        rc = set_key(&c, ways[i], argv[2 + i]);
    for (int i = 5; !rc && i + 1 < argc; i += 2)
        rc = set_key(&c, argv[i], argv[i + 1]);
    if (!rc)
        rc = train_run(&c, argv[1], &hooks, &result, &err);
    if (rc)
        fprintf(stderr, "rank failed: %s\n", err.text);
    return rc;
}

static char program[1024];

static void add(char *command, size_t bytes, const char *form, ...)
{
    size_t n = strlen(command);
    va_list args;

    va_start(args, form);
    (void)vsnprintf(command + n, bytes - n, form, args);
    va_end(args);
}

/* The exit status; what ranks say goes to DIR/log. */
static int run_in(const char *dir, const struct scene *s)
{
    char command[4096] = "";
    int status;

    if (layout_ranks(&s->layout) > 1)
        add(command, sizeof(command), MPIRUN(600),
            (int)layout_ranks(&s->layout));
    add(command, sizeof(command), "%s %s %d %d %d", program, dir,
        (int)s->layout.data, (int)s->layout.expert, (int)s->layout.tensor);
    for (int i = 0; i < MAX_KEYS && s->keys[i]; i++)
        add(command, sizeof(command), " '%s'", s->keys[i]);
    add(command, sizeof(command), " >%s.log 2>&1", dir);
    status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static void make_dir(char dir[64])
{
    snprintf(dir, 64, "/tmp/mutransfer-guard-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void remove_dir(const char *dir)
{
    char command[256];

    snprintf(command, sizeof(command), "rm -rf %s %s.log", dir, dir);
    assert_int_equal(system(command), 0);
}

/* The n-th event of a name, or NULL; takes: json_decref. */
static json_t *find_event(const char *dir, const char *name, int n)
{
    char path[128], line[4096];
    json_t *found = NULL;
    FILE *f;

    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    f = fopen(path, "r");
    assert_non_null(f);
    while (!found && fgets(line, sizeof(line), f)) {
        json_t *event = json_loads(line, 0, NULL);

        if (event &&
            !strcmp(json_string_value(json_object_get(event, "event")), name) &&
            n-- == 0)
            found = json_incref(event);
        json_decref(event);
    }
    (void)fclose(f);
    return found;
}

static int count_events(const char *dir, const char *name)
{
    int n = 0;
    json_t *event;

    while ((event = find_event(dir, name, n))) {
        json_decref(event);
        n++;
    }
    return n;
}

static void assert_text(const json_t *event, const char *key, const char *want)
{
    const char *got = json_string_value(json_object_get(event, key));

    if (!got || strcmp(got, want) != 0)
        fail_msg("%s is %s, not %s", key, got ? got : "absent", want);
}

static void open_newest(const char *dir, struct checkpoint *out)
{
    char folder[96], path[CHECKPOINT_PATH_BYTES];
    struct mup_error err = { 0 };

    snprintf(folder, sizeof(folder), "%s/checkpoints", dir);
    assert_int_equal(checkpoint_newest(folder, path, sizeof(path), &err),
                     MUP_OK);
    assert_int_equal(checkpoint_open(path, out, &err), MUP_OK);
    assert_int_equal(checkpoint_verify(out, &err), MUP_OK);
}

static char *read_losses(const char *dir)
{
    char command[256], *text = NULL;
    size_t bytes = 0;
    FILE *in, *out = open_memstream(&text, &bytes);
    int c;

    snprintf(command, sizeof(command),
             "sed 's/\"tokens_per_s\":[^,]*,//' %s/metrics.jsonl >%s.log", dir,
             dir);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof(command), "%s.log", dir);
    in = fopen(command, "r");
    assert_non_null(in);
    while ((c = fgetc(in)) != EOF)
        (void)fputc(c, out);
    (void)fclose(in);
    (void)fclose(out);
    return text;
}

/* Losses, validation, weights and moments to the bit. */
static void assert_same_run(const char *a, const char *b)
{
    char *x = read_losses(a), *y = read_losses(b);
    struct checkpoint p, q;

    assert_string_equal(x, y);
    free(x);
    free(y);
    open_newest(a, &p);
    open_newest(b, &q);
    assert_int_equal(p.step, q.step);
    assert_int_equal(p.n_chunks, q.n_chunks);
    for (int64_t i = 0; i < p.n_chunks; i++) {
        assert_int_equal(
            checkpoint_part_order(&p.chunks[i].part, &q.chunks[i].part), 0);
        assert_int_equal(p.chunks[i].part.first, q.chunks[i].part.first);
        assert_true(p.chunks[i].hash == q.chunks[i].hash);
    }
    checkpoint_close(&p);
    checkpoint_close(&q);
}

/* A tensor of which `rank` owns a piece with a second moment. */
static void owned_tensor(const struct layout *l, int rank, char name[64])
{
    struct run_config c = make_config();
    struct mup_error err = { 0 };
    struct ranks r;
    struct place *p = &r.place;
    struct trainer t;
    int found = -1;

    ranks_alone(&r);
    *p = layout_place(l, rank);
    r.all.size = (int)layout_ranks(l);
    r.all.rank = rank;
    r.tensor.size = (int)l->tensor;
    r.tensor.rank = (int)p->tensor;
    r.expert.size = (int)l->expert;
    r.expert.rank = (int)p->expert;
    r.dense.size = (int)layout_batch_parts(l);
    r.dense.rank = (int)layout_batch_part(p);
    r.data.size = (int)l->data;
    r.data.rank = (int)p->data;
    assert_int_equal(trainer_plan(&c, &r, &t, &err), MUP_OK);
    for (int i = 0; i < t.zero.n_pieces; i++)
        if (t.zero.piece[i].second >= 0 && (found < 0 || i < 3))
            found = t.zero.piece[i].param;
    assert_true(found >= 0);
    snprintf(name, 64, "%s", t.model.params.list[found].name);
    trainer_close(&t);
}

/* One bit flips; the event says where, and the run is as if it had not. */
static void check_flip(const struct layout *l, const char *kind,
                       const char *clean)
{
    int ranks = (int)layout_ranks(l);
    int copy = !strcmp(kind, "copy"), compute = !strcmp(kind, "compute");
    int rank = copy ? 0 : ranks - 1; /* the last one owns norm_final */
    char tensor[64], text[128], dir[64];
    struct scene s = { *l, { "drill.flip", text } };
    json_t *event, *who;

    owned_tensor(l, rank, tensor);
    if (copy)
        snprintf(tensor, sizeof(tensor), "norm_final");
    snprintf(text, sizeof(text), "rank %d step 12 %s %s bit 30", rank, kind,
             tensor);
    make_dir(dir);
    assert_int_equal(run_in(dir, &s), 0);
    assert_int_equal(count_events(dir, "drill"), 1);
    assert_int_equal(count_events(dir, "corruption"), 1);
    event = find_event(dir, "corruption", 0);
    assert_text(event, "tensor", tensor);
    assert_text(event, "kind", copy ? "weight" : compute ? "grad" : kind);
    assert_text(event, "found_by",
                copy      ? "replicas"
                : compute ? "execution"
                          : "seal");
    assert_int_equal(json_integer_value(json_object_get(event, "step")), 12);
    who = json_object_get(event, "rank");
    if (json_is_null(who)) { /* two replicas: told when it comes again */
        json_t *verdict = find_event(dir, "verdict", 0);

        assert_true(copy && ranks == 2);
        assert_int_equal(json_integer_value(json_object_get(verdict, "rank")),
                         rank);
        json_decref(verdict);
    } else {
        assert_int_equal(json_integer_value(who), rank);
    }
    json_decref(event);
    assert_same_run(dir, clean);
    remove_dir(dir);
}

static const struct layout alone = { 1, 1, 1 };

static void run_clean(const struct layout *l, char dir[64])
{
    struct scene s = { *l, { "run.verify_every", "0" } };

    make_dir(dir);
    assert_int_equal(run_in(dir, &s), 0);
}

static void check_flips(const struct layout *l, const char *const *kinds)
{
    char clean[64];

    if (layout_ranks(l) > 1 && !has_mpirun())
        skip();
    run_clean(l, clean);
    for (; *kinds; kinds++)
        check_flip(l, *kinds, clean);
    remove_dir(clean);
}

static const char *const rest[] = { "weight", "m", "v", "grad", NULL };
static const char *const computed[] = { "compute", NULL };
static const char *const sent[] = { "copy", NULL };

static void alone_every_flip_is_found_and_undone(void **state)
{
    (void)state;
    check_flips(&alone, rest);
    check_flips(&alone, computed);
}

static void on_two_ranks_every_flip_is_found_and_undone(void **state)
{
    (void)state;
    check_flips(&(struct layout){ 2, 1, 1 }, rest);
    check_flips(&(struct layout){ 2, 1, 1 }, computed);
    check_flips(&(struct layout){ 2, 1, 1 }, sent);
    check_flips(&(struct layout){ 1, 2, 1 }, rest);
    check_flips(&(struct layout){ 1, 1, 2 }, rest);
}

static void on_four_ranks_every_flip_is_found_and_undone(void **state)
{
    (void)state;
    check_flips(&(struct layout){ 2, 2, 1 }, rest);
    check_flips(&(struct layout){ 4, 1, 1 }, computed);
    check_flips(&(struct layout){ 4, 1, 1 }, sent);
    check_flips(&(struct layout){ 2, 1, 2 }, rest);
}

/* No false alarm, and nothing is changed by looking. */
static void clean_steps_raise_no_alarm(void **state)
{
    static const struct layout layouts[] = {
        { 1, 1, 1 }, { 2, 1, 1 }, { 2, 2, 1 }, { 1, 2, 2 }
    };
    const char *steps = getenv("MUTRANSFER_SOAK") ? "1000" : "100";

    (void)state;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        struct scene s = { layouts[i],
                           { "train.steps", steps, "run.verify_every", "1",
                             "checkpoint.every", "30", NULL } };
        char dir[64], clean[64];

        if (layout_ranks(&layouts[i]) > 1 && !has_mpirun())
            continue;
        make_dir(dir);
        make_dir(clean);
        assert_int_equal(run_in(dir, &s), 0);
        s.keys[3] = "0";
        assert_int_equal(run_in(clean, &s), 0);
        assert_int_equal(count_events(dir, "corruption"), 0);
        assert_int_equal(count_events(dir, "resume"), 0);
        assert_same_run(dir, clean);
        remove_dir(dir);
        remove_dir(clean);
    }
}

/* An optimizer that wrote into its gradients would look like a flip; a rank
 * may hold nothing of a kind. */
static void looking_suits_every_optimizer_and_backend(void **state)
{
    static const struct scene scenes[] = {
        { { 1, 1, 1 }, { "train.optimizer", "muon" } },
        { { 1, 1, 1 }, { "train.optimizer", "sgd" } },
        { { 1, 1, 1 }, { "train.optimizer", "lion" } },
        { { 1, 1, 1 }, { "run.backend", "ref64", "train.micro_batch", "2" } },
        { { 2, 1, 1 }, { "train.optimizer", "muon", "run.backend", "ref" } },
        { { 1, 4, 1 }, { "model.experts", "2", "train.batch", "2" } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
        char dir[64];

        if (layout_ranks(&scenes[i].layout) > 1 && !has_mpirun())
            continue;
        make_dir(dir);
        assert_int_equal(run_in(dir, &scenes[i]), 0);
        assert_int_equal(count_events(dir, "corruption"), 0);
        assert_int_equal(count_events(dir, "done"), 1);
        remove_dir(dir);
    }
}

static void without_a_checkpoint_it_starts_over(void **state)
{
    struct scene s = { alone,
                       { "drill.flip", "rank 0 step 3 weight embed bit 22" } };
    char dir[64], clean[64];
    json_t *event;

    (void)state;
    run_clean(&alone, clean);
    make_dir(dir);
    assert_int_equal(run_in(dir, &s), 0);
    assert_int_equal(count_events(dir, "corruption"), 1);
    event = find_event(dir, "start", 1);
    assert_non_null(event);
    json_decref(event);
    assert_same_run(dir, clean);
    remove_dir(dir);
    remove_dir(clean);
}

/* A computation found wrong at a look: earlier ones since the last look may
 * have been, too. */
static void checkpoints_since_the_last_look_are_not_trusted(void **state)
{
    struct scene s = { alone,
                       { "drill.flip", "rank 0 step 16 compute embed bit 22",
                         "run.verify_every", "8", "checkpoint.keep",
                         "last 1" } };
    char dir[64], clean[64], path[128];
    json_t *event;

    (void)state;
    run_clean(&alone, clean);
    make_dir(dir);
    assert_int_equal(run_in(dir, &s), 0);
    event = find_event(dir, "resume", 0); /* those of 10 and 15 are later */
    assert_non_null(event);
    assert_int_equal(json_integer_value(json_object_get(event, "step")), 5);
    json_decref(event);
    snprintf(path, sizeof(path), "%s/checkpoints/damaged-step-0000000010", dir);
    assert_int_equal(access(path, F_OK), 0);
    assert_same_run(dir, clean);
    remove_dir(dir);
    remove_dir(clean);
}

static void a_killed_run_goes_on_and_is_not_killed_again(void **state)
{
    struct scene s = { { 2, 1, 1 }, { "drill.kill", "rank 1 step 13" } };
    char dir[64], clean[64];

    (void)state;
    if (!has_mpirun())
        skip();
    run_clean(&s.layout, clean);
    make_dir(dir);
    assert_int_not_equal(run_in(dir, &s), 0);
    assert_int_equal(count_events(dir, "drill"), 1);
    assert_int_equal(count_events(dir, "done"), 0);
    assert_int_equal(run_in(dir, &s), 0);
    assert_int_equal(count_events(dir, "drill"), 1);
    assert_same_run(dir, clean);
    remove_dir(dir);
    remove_dir(clean);
}

static void a_failed_write_costs_a_checkpoint_and_no_more(void **state)
{
    struct scene s = { { 2, 1, 1 }, { "drill.fail_write", "rank 1 write 1" } };
    char dir[64], clean[64], path[96];
    json_t *manifest;

    (void)state;
    if (!has_mpirun())
        skip();
    run_clean(&s.layout, clean);
    make_dir(dir);
    assert_int_equal(run_in(dir, &s), 0);
    assert_int_equal(count_events(dir, "drill"), 1);
    assert_int_equal(count_events(dir, "checkpoint"),
                     count_events(clean, "checkpoint") - 1);
    snprintf(path, sizeof(path), "%s/manifest.json", dir);
    manifest = json_load_file(path, 0, NULL);
    assert_text(json_object_get(manifest, "drill"), "fail_write",
                "rank 1 write 1");
    json_decref(manifest);
    assert_same_run(dir, clean);
    remove_dir(dir);
    remove_dir(clean);
}

static void a_rank_that_does_it_again_and_again_is_named(void **state)
{
    struct scene s = {
        { 2, 1, 1 }, { "drill.flip", "rank 1 step 8 grad embed bit 9 times 3" }
    };
    char dir[64];
    json_t *event;
    const char *why;

    (void)state;
    if (!has_mpirun())
        skip();
    make_dir(dir);
    assert_int_equal(run_in(dir, &s), MUP_DEVICE);
    assert_int_equal(count_events(dir, "corruption"), 3);
    event = find_event(dir, "failed", 0);
    why = json_string_value(json_object_get(event, "error"));
    assert_non_null(strstr(why, "rank 1 ("));
    assert_non_null(strstr(why, "damaged data 3 times"));
    json_decref(event);
    assert_int_equal(run_in(dir, &s), 0); /* it has happened */
    remove_dir(dir);
}

static void a_spike_is_told_and_the_run_goes_on(void **state)
{
    struct scene s = { { 2, 1, 1 },
                       { "drill.flip", "rank 1 step 20 grad embed bit 30",
                         "run.verify_every", "0", "train.spike_limit", "10" } };
    char dir[64];
    json_t *event;

    (void)state;
    if (!has_mpirun())
        skip();
    make_dir(dir);
    assert_int_equal(run_in(dir, &s), 0);
    assert_int_equal(count_events(dir, "skipped"), 1);
    event = find_event(dir, "skipped", 0);
    assert_int_equal(json_integer_value(json_object_get(event, "step")), 20);
    assert_true(json_real_value(json_object_get(event, "grad_norm")) >
                json_real_value(json_object_get(event, "threshold")));
    json_decref(event);
    assert_int_equal(count_events(dir, "done"), 1);
    remove_dir(dir);
}

static void nothing_but_spikes_is_a_divergence(void **state)
{
    struct scene s = { alone,
                       { "train.spike_limit", "0.1", "train.steps", "40" } };
    char dir[64];

    (void)state;
    make_dir(dir);
    assert_int_equal(run_in(dir, &s), 0);
    assert_int_equal(count_events(dir, "skipped"), SPIKE_MOST + 1);
    assert_int_equal(count_events(dir, "diverged"), 1);
    assert_int_equal(count_events(dir, "done"), 0);
    remove_dir(dir);
}

static void a_drill_that_cannot_happen_is_refused(void **state)
{
    static const char *const texts[] = {
        "rank 0 step 3 weight nothing bit 22",
        "rank 0 step 3 weight embed bit 32",
        "rank 1 step 3 weight embed bit 22",
        "rank 0 step 3 weight embed bit 22 element 1000000",
        "rank 0 step 3 copy embed bit 22",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct scene s = { alone, { "drill.flip", texts[i] } };
        char dir[64];

        make_dir(dir);
        assert_int_equal(run_in(dir, &s), MUP_USAGE);
        remove_dir(dir);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seal_finds_every_flipped_bit),
        cmocka_unit_test(a_majority_names_the_one_that_is_alone),
        cmocka_unit_test(the_texts_of_drills_are_parsed),
        cmocka_unit_test(a_bad_drill_names_its_key),
        cmocka_unit_test(a_spike_is_skipped_and_counted),
        cmocka_unit_test(alone_every_flip_is_found_and_undone),
        cmocka_unit_test(looking_suits_every_optimizer_and_backend),
        cmocka_unit_test(without_a_checkpoint_it_starts_over),
        cmocka_unit_test(checkpoints_since_the_last_look_are_not_trusted),
        cmocka_unit_test(a_drill_that_cannot_happen_is_refused),
        cmocka_unit_test(on_two_ranks_every_flip_is_found_and_undone),
        cmocka_unit_test(on_four_ranks_every_flip_is_found_and_undone),
        cmocka_unit_test(a_killed_run_goes_on_and_is_not_killed_again),
        cmocka_unit_test(a_failed_write_costs_a_checkpoint_and_no_more),
        cmocka_unit_test(a_rank_that_does_it_again_and_again_is_named),
        cmocka_unit_test(a_spike_is_told_and_the_run_goes_on),
        cmocka_unit_test(nothing_but_spikes_is_a_divergence),
        cmocka_unit_test(clean_steps_raise_no_alarm),
    };

    if (argc >= 5)
        return be_a_rank(argc, argv);
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        return 1;
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
