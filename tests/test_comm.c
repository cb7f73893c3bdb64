/* What ranks tell each other, against plain sums.  Run with arguments this
 * program is one rank; the tests start it under mpirun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/comm.h"
#include "model/random.h"
#include "tests/mpirun.inc.h"

/* In a rank cmocka's macros would end the process without a word. */
#define CHECK(what)                                                            \
    do {                                                                       \
        if (!(what)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            return 1;                                                          \
        }                                                                      \
    } while (0)

struct rank {
    struct comm_world world;
    struct comm all;
};

/* What rank r has at place i of array a; small, so that sums are exact. */
static double value(int a, int r, int64_t i)
{
    const struct random_key key = random_key((uint64_t)a, "test", "comm");

    return (double)(random_below(&key, (uint64_t)(r * 100000 + i), 2001) -
                    1000);
}

static int sums(struct comm *c, int64_t n)
{
    float *x = malloc((size_t)(n + 1) * sizeof(*x));

    CHECK(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)value(1, c->rank, i);
    comm_all_reduce(c, x, n, COMM_F32);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;

        for (int r = 0; r < c->size; r++)
            sum += value(1, r, i);
        CHECK(x[i] == (float)sum);
    }
    free(x);
    return 0;
}

/* Parts of random sizes, some empty; two calls under way at once. */
static int parts(struct comm *c, int round)
{
    enum { MOST = 700, RANKS = 8 };
    double *in = calloc(RANKS * MOST, sizeof(*in)), *out[2], *scratch[2];
    struct comm_request request[2] = { { 0 }, { 0 } };
    int64_t counts[RANKS], total = 0, first = 0;

    for (int r = 0; r < c->size; r++) {
        counts[r] = (int64_t)(value(2, round, r) + 1000) % 3 == 0
                        ? 0
                        : (int64_t)(value(3, round, r) + 1000) % MOST;
        first = r == c->rank ? total : first;
        total += counts[r];
    }
    for (int64_t i = 0; i < total; i++)
        in[i] = value(4, c->rank, i);
    for (int k = 0; k < 2; k++) {
        out[k] = calloc(MOST, sizeof(double));
        scratch[k] = calloc(RANKS * MOST, sizeof(double));
        comm_reduce_scatter(c, out[k], in, counts, COMM_F64, scratch[k],
                            &request[k]);
    }
    comm_progress(c);
    comm_wait(c, &request[1]);
    comm_wait(c, &request[0]);
    for (int64_t i = 0; i < counts[c->rank]; i++) {
        double sum = 0;

        for (int r = 0; r < c->size; r++)
            sum += value(4, r, first + i);
        CHECK(out[0][i] == sum && out[1][i] == sum);
    }
    memset(in, 0, RANKS * MOST * sizeof(*in));
    memcpy(in + first, out[0], (size_t)counts[c->rank] * sizeof(*in));
    comm_all_gather(c, in, counts, COMM_F64, &request[0]);
    comm_wait(c, &request[0]);
    for (int64_t i = 0; i < total; i++) {
        double sum = 0;

        for (int r = 0; r < c->size; r++)
            sum += value(4, r, i);
        CHECK(in[i] == sum);
    }
    for (int k = 0; k < 2; k++) {
        free(out[k]);
        free(scratch[k]);
    }
    free(in);
    return 0;
}

/* How many rows go from one rank to another; often none. */
static int64_t rows(int round, int from, int to)
{
    int64_t n = (int64_t)value(5, round, from * 10 + to) + 1000;

    return n % 2 ? 0 : n % 37;
}

static int exchange(struct comm *c, int round)
{
    enum { MOST = 40, RANKS = 8 };
    int32_t send[RANKS * MOST] = { 0 }, got[RANKS * MOST] = { 0 };
    int64_t list[4][RANKS] = { { 0 } };
    const struct comm_rows r = { list[0], list[1], list[2], list[3] };
    struct comm_request request = { 0 };

    for (int i = 0; i < c->size; i++) {
        list[0][i] = rows(round, c->rank, i);
        list[1][i] = i * MOST;
        list[2][i] = rows(round, i, c->rank);
        list[3][i] = (c->size - 1 - i) * MOST;
        for (int64_t k = 0; k < list[0][i]; k++)
            send[i * MOST + k] = (int32_t)value(6, c->rank * 10 + i, k);
    }
    comm_all_to_all(c, got, send, &r, COMM_I32, &request);
    comm_wait(c, &request);
    for (int i = 0; i < c->size; i++)
        for (int64_t k = 0; k < list[2][i]; k++)
            CHECK(got[list[3][i] + k] ==
                  (int32_t)value(6, i * 10 + c->rank, k));
    return 0;
}

/* Every call on a group, with nothing to do on some ranks in some rounds. */
static int calls(struct comm *c)
{
    static const int64_t sizes[] = { 0, 1, 3, 512, 1023, 100003 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        CHECK(sums(c, sizes[i]) == 0);
    for (int round = 0; round < 40; round++) {
        char text[8] = "";

        CHECK(exchange(c, round) == 0);
        CHECK(parts(c, round) == 0);
        if (c->rank == round % c->size)
            snprintf(text, sizeof(text), "%d", round);
        comm_broadcast(c, text, sizeof(text), COMM_BYTE, round % c->size);
        CHECK(strtol(text, NULL, 10) == round);
        comm_barrier(c);
    }
    return 0;
}

static int every_call(struct rank *r)
{
    struct comm half, own;
    struct mup_error err = { 0 };

    CHECK(calls(&r->all) == 0);
    CHECK(comm_split(&r->all, r->all.rank % 2, -r->all.rank, &half, &err) == 0);
    CHECK(half.size == (r->all.size + 1 - r->all.rank % 2) / 2);
    CHECK(calls(&half) == 0);
    CHECK(comm_split(&r->all, r->all.rank, 0, &own, &err) == 0);
    CHECK(own.size == 1 && calls(&own) == 0);
    comm_free(&half);
    comm_free(&own);
    return 0;
}

static int agreement(struct rank *r)
{
    struct mup_error err = { 0 };

    CHECK(comm_agree(&r->all, MUP_OK, &err) == MUP_OK);
    for (int who = 0; who < r->all.size; who++) {
        int fails = r->all.rank >= who, rc = MUP_OK;

        if (fails)
            rc = mup_fail(&err, r->all.rank == who ? MUP_SYSTEM : MUP_CORRUPT,
                          "disk %d is full", r->all.rank);
        CHECK(comm_agree(&r->all, rc, &err) == MUP_SYSTEM);
        {
            char want[64];

            snprintf(want, sizeof(want),
                     who ? "disk %d is full (rank %d)" : "disk 0 is full", who,
                     who);
            CHECK(strcmp(err.text, want) == 0);
        }
    }
    return 0;
}

static void nap(double seconds)
{
    struct timespec t = { (time_t)seconds,
                          (long)((seconds - (double)(time_t)seconds) * 1e9) };

    (void)nanosleep(&t, NULL);
}

/* The last rank does not come; a slower one does, before the deadline. */
static int absence(struct rank *r)
{
    struct mup_error err = { 0 };
    struct comm half;
    int last = r->all.size - 1;
    char want[64];

    CHECK(comm_split(&r->all, r->all.rank / 2, r->all.rank, &half, &err) == 0);
    if (r->all.rank == 1)
        nap(1);
    CHECK(sums(&r->all, 1000) == 0);
    CHECK(comm_sync(&r->world, &err) == MUP_OK);
    if (r->all.rank == last) {
        nap(6);
        return 0;
    }
    /* its neighbour waits in a group of two, the others for both of them */
    if (half.size == 2)
        comm_barrier(&half);
    comm_barrier(&r->all);
    CHECK(comm_sync(&r->world, &err) == MUP_DEVICE);
    snprintf(want, sizeof(want), "rank %d did not arrive within 2 s", last);
    if (!strstr(err.text, want))
        fprintf(stderr, "%s\n", err.text);
    CHECK(strstr(err.text, want));
    comm_barrier(&r->all); /* after a fault nothing waits */
    printf("content\n");
    (void)fflush(stdout);
    nap(1); /* mpirun ends all when the first one leaves after a fault */
    return 0;
}

static int counting(struct rank *r)
{
    const struct comm_stats *s = &r->world.stats;
    int64_t counts[8], n = r->all.size, bytes;
    struct comm_request request = { 0 };
    float x[800] = { 0 }, y[800], scratch[800];

    for (int i = 0; i < n; i++)
        counts[i] = i + 1;
    memset(&r->world.stats, 0, sizeof(r->world.stats));
    comm_all_reduce(&r->all, x, 100 * n, COMM_F32);
    CHECK(s->bytes[COMM_ALL_REDUCE] == 2 * (n - 1) * 100 * 4);
    comm_reduce_scatter(&r->all, y, x, counts, COMM_F32, scratch, &request);
    comm_wait(&r->all, &request);
    bytes = (n * (n + 1) / 2 - (r->all.rank + 1)) * 4;
    CHECK(s->bytes[COMM_REDUCE_SCATTER] == bytes);
    comm_all_gather(&r->all, x, counts, COMM_F32, &request);
    comm_wait(&r->all, &request);
    CHECK(s->bytes[COMM_ALL_GATHER] == (r->all.rank + 1) * (n - 1) * 4);
    CHECK(s->calls[COMM_ALL_REDUCE] == 1 && s->calls[COMM_ALL_GATHER] == 1);
    return 0;
}

static const struct scenario {
    const char *name;
    int (*run)(struct rank *r);
    double deadline_s;
} scenarios[] = {
    { "calls", every_call, 60 },
    { "agreement", agreement, 60 },
    { "absence", absence, 2 },
    { "counting", counting, 60 },
};
enum { N_SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]) };

static int be_a_rank(const char *name)
{
    struct mup_error err = { 0 };
    struct rank r;
    int rc = 1;

    for (int i = 0; i < N_SCENARIOS; i++)
        if (strcmp(scenarios[i].name, name) == 0) {
            rc = comm_open(scenarios[i].deadline_s, &r.world, &r.all, &err);
            if (!rc)
                rc = scenarios[i].run(&r);
        }
    comm_free(&r.all);
    comm_close(&r.world);
    return rc;
}

static char program[1024];

/* mpirun's status is 0 if all ranks returned 0, and none left after a fault:
 * then *content counts those that say that it was the right one. */
static void start(const char *scenario, int ranks, int *content)
{
    char command[2048], line[256], path[] = "/tmp/mutransfer-comm-XXXXXX";
    int fd = mkstemp(path), status;
    FILE *f;

    if (!has_mpirun())
        skip();
    snprintf(command, sizeof(command), MPIRUN(120) "%s %s >%s 2>&1", ranks,
             program, scenario, path);
    assert_true(fd >= 0);
    status = system(command);
    f = fdopen(fd, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        if (content && strcmp(line, "content\n") == 0)
            (*content)++;
    (void)fclose(f);
    (void)unlink(path);
    if (!content)
        assert_int_equal(status, 0);
}

static void every_call_is_a_plain_sum_or_copy(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= 5; ranks++)
        start("calls", ranks, NULL);
}

static void all_learn_of_the_first_failure(void **state)
{
    (void)state;
    start("agreement", 4, NULL);
}

static void ranks_that_do_not_arrive_are_named(void **state)
{
    (void)state;
    for (int ranks = 3; ranks <= 4; ranks++) {
        int content = 0;

        start("absence", ranks, &content);
        assert_int_equal(content, ranks - 1);
    }
}

static void bytes_are_those_of_the_formulas(void **state)
{
    (void)state;
    start("counting", 2, NULL);
    start("counting", 4, NULL);
}

static void alone_nothing_is_sent(void **state)
{
    struct rank r;

    (void)state;
    assert_int_equal(comm_open(1, &r.world, &r.all, NULL), MUP_OK);
    assert_int_equal(calls(&r.all), 0);
    for (int i = 0; i < COMM_KINDS; i++)
        assert_int_equal(r.world.stats.calls[i], 0);
    assert_int_equal(comm_agree(&r.all, MUP_SYSTEM, NULL), MUP_SYSTEM);
    comm_close(&r.world);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_is_a_plain_sum_or_copy),
        cmocka_unit_test(all_learn_of_the_first_failure),
        cmocka_unit_test(ranks_that_do_not_arrive_are_named),
        cmocka_unit_test(bytes_are_those_of_the_formulas),
        cmocka_unit_test(alone_nothing_is_sent),
    };

    if (argc == 2)
        return be_a_rank(argv[1]);
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
