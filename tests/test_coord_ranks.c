/* The coordinate check on many ranks: every row has the value that one rank
 * finds, and so the verdict is the same.
 *
 * Run with arguments this program is one rank of a check. */
#define _GNU_SOURCE /* mkdtemp */
#include <math.h>
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

#include "sweep/coord_check.h"
#include "tests/mpirun.inc.h"

/* --- the checks --- */

static void plain(struct run_config *c, struct coord_options *o)
{
    (void)c;
    (void)o;
}

/* More ranks than sequences and experts; what is cut unevenly; the sum of two
 * branches; one table in both its places. */
static void everything(struct run_config *c, struct coord_options *o)
{
    (void)o;
    c->model.experts = 3;
    c->model.ffn_ratio = 1.7;
    c->model.vocab = 97;
    c->model.qk_norm = 1;
    c->model.shared_expert = 1;
    c->model.tied = 1;
    c->model.router_renorm = 1;
    c->model.router_softcap = 10;
}

static void wrong(struct run_config *c, struct coord_options *o)
{
    (void)o;
    c->mup.parametrization = MUP_SP;
}

static void deep(struct run_config *c, struct coord_options *o)
{
    c->model.width = 32;
    c->mup.base_layers = 1;
    c->mup.depth = MUP_DEPTH_MUP;
    o->grow = MUP_GROW_DEPTH;
    o->sizes[0] = 1;
    o->sizes[1] = 2;
}

static const struct variant {
    const char *name, *backend;
    void (*change)(struct run_config *c, struct coord_options *o);
    /* relative; double's roundings (1e-16) grow in the updates that divide by
     * the root of a gradient's square, measured 6e-13; float's 6e-6 */
    double tolerance;
} variants[] = {
    { "plain", "ref64", plain, 1e-10 },
    { "everything", "ref64", everything, 1e-10 },
    { "wrong", "ref64", wrong, 1e-10 },
    { "deep", "ref64", deep, 1e-10 },
    { "float", "ref", everything, 1e-5 },
};

static int check(int variant, const struct layout *l, const char *dir,
                 struct mup_error *err)
{
    struct coord_options o = {
        .sizes = { 32, 64 }, .n_sizes = 2, .steps = 3, .seeds = 2
    };
    struct coord_result result = { 0 };
    struct run_config c;
    struct ranks ranks;
    int rc;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.head_size = 8;
    c.model.kv_group = 1;
    c.model.experts = 4;
    c.model.vocab = 96;
    c.mup.base_width = 32;
    c.mup.base_head_size = 8;
    c.mup.init_std = 0.177;
    c.train.lr = 0.03125;
    c.parallel.data = l->data;
    c.parallel.expert = l->expert;
    c.parallel.tensor = l->tensor;
    c.parallel.deadline_s = 60;
    variants[variant].change(&c, &o);
    snprintf(c.run.backend, sizeof(c.run.backend), "%s",
             variants[variant].backend);
    rc = ranks_open(&c, &ranks, err);
    o.ranks = &ranks;
    if (!rc)
        rc = coord_check_run(&c, &o, dir, NULL, &result, err);
    coord_result_clear(&result);
    ranks_close(&ranks);
    return rc;
}

/* VARIANT DATA EXPERT TENSOR DIR */
static int be_a_rank(char **argv)
{
    const struct layout l = { strtoll(argv[2], NULL, 10),
                              strtoll(argv[3], NULL, 10),
                              strtoll(argv[4], NULL, 10) };
    struct mup_error err = { 0 };
    int rc = check((int)strtoll(argv[1], NULL, 10), &l, argv[5], &err);

    if (rc)
        fprintf(stderr, "%s\n", err.text);
    return rc;
}

/* --- what they leave behind --- */

static char program[1024];

static void run_check(int variant, const struct layout *l, const char *dir)
{
    int ranks = (int)layout_ranks(l);
    char command[2048], mpirun[200] = "";

    if (ranks > 1)
        snprintf(mpirun, sizeof(mpirun), MPIRUN(120), ranks);
    snprintf(command, sizeof(command), "%s%s %d %d %d %d %s", mpirun, program,
             variant, (int)l->data, (int)l->expert, (int)l->tensor, dir);
    assert_int_equal(system(command), 0);
}

static FILE *open_file(const char *dir, const char *name)
{
    char path[200];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "r");
    assert_non_null(f);
    return f;
}

/* Lines are alike up to the value, which is close. */
static int compare_rows(const char *a, const char *b, double tolerance)
{
    FILE *fa = open_file(a, "coord.csv"), *fb = open_file(b, "coord.csv");
    char x[1024], y[1024];
    int rows = 0;

    while (fgets(x, sizeof(x), fa)) {
        char *u = strrchr(x, ','), *v;
        double one, other;

        assert_non_null(fgets(y, sizeof(y), fb));
        v = strrchr(y, ',');
        assert_true(u && v && u - x == v - y);
        assert_memory_equal(x, y, u - x);
        if (rows++ == 0)
            continue; /* the heading */
        one = strtod(u + 1, NULL);
        other = strtod(v + 1, NULL);
        if (!(fabs(one - other) <= tolerance * fabs(one)) &&
            !(isnan(one) && isnan(other)))
            fail_msg("%.*s: %.12g, alone %.12g", (int)(u - x), x, other, one);
    }
    assert_null(fgets(y, sizeof(y), fb));
    (void)fclose(fa);
    (void)fclose(fb);
    return rows;
}

/* The next verdict of coord.json: of the whole, or of a row. */
static int next_verdict(FILE *f, char *line, int bytes)
{
    while (fgets(line, bytes, f))
        if (strstr(line, "\"verdict\""))
            return 1;
    return 0;
}

static void compare_verdicts(const char *a, const char *b)
{
    FILE *fa = open_file(a, "coord.json"), *fb = open_file(b, "coord.json");
    char x[4096], y[4096];
    int n = 0;

    for (; next_verdict(fa, x, sizeof(x)); n++) {
        assert_true(next_verdict(fb, y, sizeof(y)));
        assert_string_equal(x, y);
    }
    assert_false(next_verdict(fb, y, sizeof(y)));
    assert_true(n > 50);
    (void)fclose(fa);
    (void)fclose(fb);
}

static void clean(const char *dir)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/coord.csv", dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/coord.json", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static const struct layout layouts[] = {
    { 2, 1, 1 }, { 1, 2, 1 }, { 1, 1, 2 },
    { 1, 4, 1 }, { 1, 1, 4 }, { 1, 2, 2 },
};
enum { N_LAYOUTS = sizeof(layouts) / sizeof(layouts[0]) };

static void ranks_find_what_one_finds(void **state)
{
    const int variant = *(const int *)*state;
    char one[] = "/tmp/mutransfer-coord-XXXXXX";

    assert_non_null(mkdtemp(one));
    run_check(variant, &(struct layout){ 1, 1, 1 }, one);
    for (int i = 0; i < N_LAYOUTS; i++) {
        char many[] = "/tmp/mutransfer-coord-XXXXXX";

        assert_non_null(mkdtemp(many));
        run_check(variant, &layouts[i], many);
        assert_true(compare_rows(one, many, variants[variant].tolerance) > 100);
        compare_verdicts(one, many);
        clean(many);
    }
    clean(one);
}

int main(int argc, char **argv)
{
    static int number[] = { 0, 1, 2, 3, 4 };
#define VARIANT(name, i)                                                       \
    {                                                                          \
        "ranks_find_what_one_finds (" name ")", ranks_find_what_one_finds,     \
            NULL, NULL, &number[i]                                             \
    }
    const struct CMUnitTest tests[] = {
        VARIANT("plain", 0), VARIANT("everything", 1), VARIANT("wrong", 2),
        VARIANT("deep", 3),  VARIANT("float", 4),
    };

    if (argc == 6)
        return be_a_rank(argv);
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        return 1;
    if (!has_mpirun()) {
        print_message("[  SKIPPED ] 5 test(s): no mpirun\n");
        return 0;
    }
    return cmocka_run_group_tests_name("coord ranks", tests, NULL, NULL);
}
