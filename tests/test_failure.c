/* What ended an incarnation: evidence in, class out.  The sentences are those
 * of the trainer, each beside the place that makes it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "launcher/failure.h"

/* strike (model/run_guard.c) */
#define DAMAGED                                                                \
    "rank 3 (node7) damaged data 3 times, the last time in step 40; run the "  \
    "same command without that node"
#define DAMAGED_UNKNOWN                                                        \
    "data was damaged 3 times on a rank that could not be told, the last "     \
    "time in step 40; events.jsonl says where"
/* blame (model/comm_mpi.c) */
#define LATE                                                                   \
    "rank 1 did not arrive within 60 s (parallel.deadline_s), rank 0 waited; " \
    "the same command continues from the last checkpoint"
/* fail (model/comm_mpi.c) */
#define CANNOT                                                                 \
    "rank 0 cannot receive: MPI_ERR_OTHER: known error not in list; the same " \
    "command continues from the last checkpoint"
/* cannot_write (model/saver_write.c), through comm_agree (model/comm.c) */
#define FULL                                                                   \
    "cannot write 'run/checkpoints/step-40.2/data-0': No space left on "       \
    "device; free some space (rank 1)"
/* run_open_guard (model/run_guard.c), through comm_agree */
#define NO_MEMORY "out of memory for the run (rank 12)"
/* fence_check (model/fence.h) */
#define REPLACED                                                               \
    "a newer start of this run (incarnation 4) has replaced this one (3)"

/* What a sentence is told by, and where it comes from. */
static const struct {
    const char *words, *file, *sentence;
} sources[] = {
    { "damaged data", "model/run_guard.c", DAMAGED },
    { "data was damaged", "model/run_guard.c", DAMAGED_UNKNOWN },
    { "did not arrive within", "model/comm_mpi.c", LATE },
    { "free some space", "model/saver_write.c", FULL },
    { "out of memory for the run", "model/run_guard.c", NO_MEMORY },
    { "(rank %d)", "model/comm.c", NULL },
    { "newer start of this run", "model/fence.h", REPLACED },
};

static const struct {
    struct failure_evidence seen;
    struct failure want;
} rows[] = {
    /* the program or its input */
    { { .said_bye = 1, .status = MUP_NEGATIVE, .text = "" },
      { FAILURE_USER, 0, 0 } },
    { { .status = 1 }, { FAILURE_USER, 0, 0 } },
    { { .status = 127 }, { FAILURE_USER, 0, 0 } },
    { { .status = MUP_USAGE }, { FAILURE_USER, 1, 0 } },
    { { .said_bye = 1, .status = MUP_USAGE, .text = "unknown key 'x'" },
      { FAILURE_USER, 1, 0 } },
    { { .said_bye = 1, .status = MUP_DIVERGED, .text = "" },
      { FAILURE_USER, 0, 0 } },
    { { .signal = SIGSEGV }, { FAILURE_USER, 0, 0 } },
    { { .signal = SIGABRT }, { FAILURE_USER, 0, 0 } },
    { { .signal = SIGFPE }, { FAILURE_USER, 0, 0 } },
    { { .signal = SIGILL }, { FAILURE_USER, 0, 0 } },
    { { .signal = SIGBUS }, { FAILURE_USER, 0, 0 } },
    /* a node, whatever else was seen */
    { { .node_lost = 1 }, { FAILURE_NODE, 0, 1 } },
    { { .node_lost = 1, .hung = 1, .signal = SIGSEGV, .status = MUP_USAGE },
      { FAILURE_NODE, 0, 1 } },
    { { .node_lost = 1, .said_bye = 1, .status = MUP_DEVICE, .text = LATE },
      { FAILURE_NODE, 0, 1 } },
    /* killed from outside, or gone without a word */
    { { .signal = SIGKILL }, { FAILURE_PROCESS, 0, 1 } },
    { { .signal = SIGTERM }, { FAILURE_PROCESS, 0, 1 } },
    { { 0 }, { FAILURE_PROCESS, 0, 1 } },
    { { .said_bye = 1, .status = MUP_SYSTEM, .text = NO_MEMORY },
      { FAILURE_PROCESS, 0, 1 } },
    /* ranks do not reach each other, or not their supervisor */
    { { .said_bye = 1, .status = MUP_DEVICE, .text = LATE },
      { FAILURE_NETWORK, 0, 0 } },
    { { .said_bye = 1, .status = MUP_DEVICE, .text = CANNOT },
      { FAILURE_NETWORK, 0, 0 } },
    { { .said_bye = 1, .status = MUP_DEVICE }, { FAILURE_NETWORK, 0, 0 } },
    { { .status = MUP_DEVICE }, { FAILURE_NETWORK, 0, 0 } },
    /* files */
    { { .said_bye = 1, .status = MUP_SYSTEM, .text = FULL },
      { FAILURE_FILES, 0, 0 } },
    { { .said_bye = 1, .status = MUP_SYSTEM }, { FAILURE_FILES, 0, 0 } },
    { { .said_bye = 1, .status = MUP_CORRUPT, .text = "no checkpoint" },
      { FAILURE_FILES, 1, 0 } },
    /* the scheduler's word is the last */
    { { .preempted = 1 }, { FAILURE_PREEMPTED, 0, 0 } },
    { { .preempted = 1, .node_lost = 1, .hung = 1, .signal = SIGKILL },
      { FAILURE_PREEMPTED, 0, 0 } },
    { { .hung = 1 }, { FAILURE_HUNG, 0, 1 } },
    { { .hung = 1, .signal = SIGKILL }, { FAILURE_HUNG, 0, 1 } },
    { { .said_bye = 1, .status = MUP_DEVICE, .text = DAMAGED },
      { FAILURE_CORRUPT, 0, 1 } },
    { { .said_bye = 1, .status = MUP_DEVICE, .text = DAMAGED_UNKNOWN },
      { FAILURE_CORRUPT, 0, 0 } },
    { { .said_bye = 1, .status = MUP_DEVICE, .text = REPLACED },
      { FAILURE_FENCED, 0, 0 } },
};

static void evidence_gives_its_class(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct failure want = rows[i].want;
        struct failure got = failure_classify(&rows[i].seen);

        if (got.class != want.class || got.final != want.final ||
            got.blames_node != want.blames_node)
            fail_msg("row %zu: %s final %d blames %d", i,
                     failure_name(got.class), got.final, got.blames_node);
    }
}

static void every_class_has_a_row(void **state)
{
    int seen[FAILURE_CLASSES] = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        seen[rows[i].want.class]++;
    assert_int_equal(seen[FAILURE_NONE], 0);
    for (int i = FAILURE_USER; i < FAILURE_CLASSES; i++)
        assert_true(seen[i] > 0);
}

/* All statuses, signals and sentences. */
static void an_error_of_the_program_blames_no_node(void **state)
{
    (void)state;
    for (int status = 0; status < 256; status++)
        for (int signal = 0; signal < 65; signal++)
            for (size_t i = 0; i < 2 * sizeof(sources) / sizeof(sources[0]);
                 i++) {
                const struct failure_evidence e = {
                    .said_bye = i % 2,
                    .status = status,
                    .signal = signal,
                    .text = sources[i / 2].sentence,
                };
                struct failure got = failure_classify(&e);

                assert_in_range(got.class, FAILURE_USER, FAILURE_CLASSES - 1);
                if (got.class == FAILURE_USER || got.final)
                    assert_int_equal(got.blames_node, 0);
            }
}

static void the_trainer_says_what_is_recognised(void **state)
{
    static char text[80000];

    (void)state;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        FILE *f = fopen(sources[i].file, "r");
        size_t n;

        assert_non_null(f);
        n = fread(text, 1, sizeof(text) - 1, f);
        assert_int_equal(fclose(f), 0);
        text[n] = '\0';
        if (!strstr(text, sources[i].words))
            fail_msg("%s does not say '%s'", sources[i].file, sources[i].words);
        if (sources[i].sentence)
            assert_non_null(strstr(sources[i].sentence, sources[i].words));
    }
}

static void sentences_name_their_rank(void **state)
{
    static const struct {
        const char *text;
        int rank;
    } named[] = {
        { DAMAGED, 3 },
        { "step 4: " DAMAGED " (rank 5)", 3 },
        { DAMAGED_UNKNOWN, -1 },
        { NO_MEMORY, 12 },
        { FULL, 1 },
        { "out of memory for the run", -1 },
        { LATE, -1 },
        { CANNOT, -1 },
        { REPLACED, -1 },
        { "", -1 },
        { "rank ", -1 },
        { "(rank 7", -1 },
        { "(rank 7) is late", -1 },
        { "(rank -7)", -1 },
        { "(rank 99999999999999999999)", -1 },
        { "rank rank rank 2 (a) damaged data 3 times", 2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
        if (failure_rank(named[i].text) != named[i].rank)
            fail_msg("'%s' names rank %d", named[i].text,
                     failure_rank(named[i].text));
    assert_int_equal(failure_rank(NULL), -1);
}

static void classes_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < FAILURE_CLASSES; i++) {
        assert_true(strlen(failure_name(i)) > 0);
        assert_true(strlen(failure_title(i)) > 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(failure_name(i), failure_name(k));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evidence_gives_its_class),
        cmocka_unit_test(every_class_has_a_row),
        cmocka_unit_test(an_error_of_the_program_blames_no_node),
        cmocka_unit_test(the_trainer_says_what_is_recognised),
        cmocka_unit_test(sentences_name_their_rank),
        cmocka_unit_test(classes_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
