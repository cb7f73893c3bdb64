/* Is this node fit?  The parts of the check, its answer, and what is made of
 * the answers of many nodes. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include <math.h>
#include <string.h>
#include <time.h>

#include "launcher/preflight.h"
#include "launcher/preflight_gpu.h"
#include "tests/folder.inc.h"

#define TEXT PREFLIGHT_TEXT_BYTES

/* --- GPUs --- */

#define GOOD_0 "0, GPU-aaaa, 0, No, No\n"
#define GOOD_1 "1, GPU-bbbb, 0, No, No\n"

static void devices_that_are_well_are_counted(void **state)
{
    char bad[TEXT];

    (void)state;
    assert_int_equal(preflight_gpu_read(GOOD_0 GOOD_1, 2, bad, sizeof(bad)), 2);
    assert_string_equal(bad, "");
    /* ECC off, an older card, numbers in place of words */
    assert_int_equal(preflight_gpu_read("0, GPU-aaaa, [N/A], [N/A], [N/A]\n"
                                        "1, GPU-bbbb, [Not Supported], 0, 0\n",
                                        2, bad, sizeof(bad)),
                     2);
    assert_string_equal(bad, "");
    /* more than were asked for are no fault */
    assert_int_equal(preflight_gpu_read(GOOD_0 GOOD_1, 1, bad, sizeof(bad)), 2);
    assert_string_equal(bad, "");
}

static void a_missing_or_damaged_device_is_named(void **state)
{
    static const struct {
        const char *text, *bad;
    } rows[] = {
        { GOOD_0, "1 of 2 GPUs are there" },
        { "", "0 of 2 GPUs are there" },
        { GOOD_0 "1, GPU-bbbb, 3, No, No\n",
          "GPU 1 (GPU-bbbb) has had 3 memory errors that were not corrected; "
          "reset it" },
        { "0, GPU-aaaa, 0, Yes, No\n" GOOD_1,
          "GPU 0 (GPU-aaaa) has a bad memory row that is replaced at its next "
          "reset; reset it" },
        { "0, GPU-aaaa, 0, 1, 1\n" GOOD_1,
          "GPU 0 (GPU-aaaa) has run out of spare memory rows; replace it" },
    };
    char bad[TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)preflight_gpu_read(rows[i].text, 2, bad, sizeof(bad));
        assert_string_equal(bad, rows[i].bad);
    }
}

static void what_cannot_be_read_is_bad(void **state)
{
    static const char *const texts[] = {
        "0, GPU-aaaa, 0, No, No", /* half a line, or half of ten errors */
        GOOD_0 "1, GPU-bb",
        "No devices were found\n",
        "0, GPU-aaaa, 0, No\n",
        "0, GPU-aaaa, 0, No, No, 1\n",
        "0, GPU-aaaa, ERR!, No, No\n",
        "0, [GPU is lost], 0, No, No\n",
        "0, GPU-aaaa, -1, No, No\n",
        "x, GPU-aaaa, 0, No, No\n",
        "0, GPU-aaaa, 99999999999999999999, No, No\n",
        "\n",
    };
    char bad[TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        (void)preflight_gpu_read(texts[i], 1, bad, sizeof(bad));
        if (!*bad)
            fail_msg("taken for well: '%s'", texts[i]);
    }
}

static void fatal_xids_are_found_among_others(void **state)
{
    char bad[TEXT];

    (void)state;
    preflight_xid_read(
        "6,1,0,-;Linux version 6\n"
        "4,900,1,-;NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper\n"
        "4,901,1,-;NVRM: Xid (PCI:0000:10:1c): 31, pid=1, MMU fault\n"
        "4,902,1,-;NVRM: Xid (PCI:0000:10:1c): 94, Contained\n"
        "4,903,1,-;NVRM: Xid (PCI:0000\n",
        bad, sizeof(bad));
    assert_string_equal(bad, "");
    preflight_xid_read(
        "4,900,1,-;NVRM: Xid (PCI:0000:10:1c): 43, pid=1\n"
        "4,901,1,-;NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off\n",
        bad, sizeof(bad));
    assert_string_equal(bad,
                        "the kernel has reported Xid 79 of the GPU at "
                        "PCI:0000:3b:00 since it started; reset the GPU and "
                        "restart the node");
    assert_true(preflight_xid_is_fatal(48) && preflight_xid_is_fatal(119));
    assert_false(preflight_xid_is_fatal(13) || preflight_xid_is_fatal(0));
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void files_stand_for_the_tools(void **state)
{
    char dir[64], smi[128], xid[128], none[128], bad[TEXT];

    (void)state;
    new_dir(dir);
    snprintf(smi, sizeof(smi), "%s/smi", dir);
    snprintf(xid, sizeof(xid), "%s/xid", dir);
    snprintf(none, sizeof(none), "%s/none", dir);
    put_file(smi, GOOD_0);
    put_file(xid, "NVRM: Xid (PCI:0000:10:1c): 48, DBE\n");
    (void)preflight_gpu_check(1, smi, xid, bad, sizeof(bad));
    assert_non_null(strstr(bad, "Xid 48"));
    put_file(xid, "nothing\n");
    assert_int_equal(preflight_gpu_check(1, smi, xid, bad, sizeof(bad)), 1);
    assert_string_equal(bad, "");
    (void)preflight_gpu_check(1, none, xid, bad, sizeof(bad));
    assert_non_null(strstr(bad, "cannot be looked for"));
    (void)preflight_gpu_check(1, smi, none, bad, sizeof(bad));
    assert_non_null(strstr(bad, "cannot be looked for"));
    remove_tree(dir);
}

/* --- this machine --- */

static struct preflight_options options_in(const char *dir)
{
    return (struct preflight_options){
        .dir = dir, .node = "node1", .backend = "auto", .memory_mib = 16
    };
}

static void this_machine_is_fit(void **state)
{
    struct preflight_result r;
    char dir[64], deep[128];
    struct preflight_options o;

    (void)state;
    new_dir(dir);
    /* a run that has no folder yet */
    snprintf(deep, sizeof(deep), "%s/runs/first", dir);
    o = options_in(deep);
    preflight_run(&o, &r);
    assert_string_equal(r.bad, "");
    assert_true(r.memory_bytes_per_s > 0 && r.gemm_flops_per_s > 0);
    assert_true(r.disk_bytes_per_s > 0 && r.wall_unix_s > 1e9);
    assert_true(r.cpus >= 1);
    /* and leaves nothing behind: the folder is empty */
    assert_int_equal(rmdir(dir), 0);
}

static void the_reference_backend_is_fit_too(void **state)
{
    struct preflight_result r;
    struct preflight_options o = options_in("/tmp");

    (void)state;
    o.backend = "ref64";
    o.memory_mib = 1;
    preflight_run(&o, &r);
    assert_string_equal(r.bad, "");
}

static void drills_are_found_where_they_should_be(void **state)
{
    static const struct {
        int drill;
        const char *bad;
    } rows[] = {
        { DRILL_BITS, "a matrix product on CPU" },
        { DRILL_DISK, "came back changed" },
        { DRILL_DEVICE, "memory errors" },
    };
    struct preflight_options o = options_in("/tmp");
    struct preflight_result r;

    (void)state;
    o.memory_mib = 1;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        o.drill = rows[i].drill;
        preflight_run(&o, &r);
        if (!strstr(r.bad, rows[i].bad))
            fail_msg("no '%s' in '%s'", rows[i].bad, r.bad);
    }
    /* These show beside other nodes only. */
    o.drill = DRILL_CLOCK;
    preflight_run(&o, &r);
    assert_string_equal(r.bad, "");
    assert_true(r.wall_unix_s > (double)time(NULL) + 3000);
    o.drill = DRILL_SLOW;
    preflight_run(&o, &r);
    assert_string_equal(r.bad, "");
}

static void room_and_folders_are_looked_at(void **state)
{
    struct preflight_options o = options_in("/tmp");
    struct preflight_result r;

    (void)state;
    o.memory_mib = 1;
    o.checkpoint_bytes = 1e18;
    preflight_run(&o, &r);
    assert_non_null(strstr(r.bad, "a checkpoint needs"));
    o = options_in("/proc/1");
    o.memory_mib = 1;
    preflight_run(&o, &r);
    assert_non_null(strstr(r.bad, "cannot be used on this node"));
}

static void an_unknown_backend_is_bad(void **state)
{
    struct preflight_options o = options_in("/tmp");
    struct preflight_result r;

    (void)state;
    o.memory_mib = 1;
    o.backend = "no such backend";
    preflight_run(&o, &r);
    assert_non_null(strstr(r.bad, "cannot be tried"));
}

static void a_drill_names_its_node(void **state)
{
    static const char *const wrong[] = { "node a", "node a fire", "a bits",
                                         "node a bits now" };
    struct drill_config c = { .preflight = "node n7 clock" };
    struct mup_error err;
    struct drill d;

    (void)state;
    assert_int_equal(drill_parse(&c, &d, &err), MUP_OK);
    assert_int_equal(drill_finding_on(&d, "n7"), DRILL_CLOCK);
    assert_int_equal(drill_finding_on(&d, "n8"), DRILL_FIT);
    c.preflight[0] = '\0';
    assert_int_equal(drill_parse(&c, &d, &err), MUP_OK);
    assert_int_equal(drill_finding_on(&d, ""), DRILL_FIT);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(c.preflight, sizeof(c.preflight), "%s", wrong[i]);
        assert_int_equal(drill_parse(&c, &d, &err), MUP_USAGE);
        assert_non_null(strstr(err.text, "drill.preflight"));
    }
}

/* --- the answer --- */

static void an_answer_goes_there_and_back(void **state)
{
    struct preflight_result r = {
        .bad = "GPU 1 \"is\"\n\\ gone",
        .seconds = 1.5,
        .memory_bytes_per_s = 2e9,
        .gemm_flops_per_s = 3e10,
        .disk_bytes_per_s = 4e8,
        .wall_unix_s = 1.75e9,
        .gpus = 7,
        .cpus = 2,
    };
    struct preflight_result back;
    char text[PREFLIGHT_JSON_BYTES];

    (void)state;
    preflight_format(&r, text, sizeof(text));
    assert_null(strchr(text, '\n'));
    assert_int_equal(preflight_parse(text, &back, NULL), MUP_OK);
    assert_string_equal(back.bad, "GPU 1 'is'?' gone");
    assert_float_equal(back.seconds, 1.5, 0);
    assert_float_equal(back.memory_bytes_per_s, 2e9, 0);
    assert_float_equal(back.gemm_flops_per_s, 3e10, 0);
    assert_float_equal(back.disk_bytes_per_s, 4e8, 0);
    assert_float_equal(back.wall_unix_s, 1.75e9, 0);
    assert_int_equal(back.gpus, 7);
    assert_int_equal(back.cpus, 2);
    /* the longest one fits */
    memset(r.bad, '\\', sizeof(r.bad) - 1);
    r.memory_bytes_per_s = 1e300;
    r.gemm_flops_per_s = INFINITY;
    preflight_format(&r, text, sizeof(text));
    assert_int_equal(preflight_parse(text, &back, NULL), MUP_OK);
    /* half of it does not */
    text[strlen(text) / 2] = '\0';
    assert_int_equal(preflight_parse(text, &back, NULL), MUP_CORRUPT);
}

static void other_answers_are_unreadable(void **state)
{
    static const char *const texts[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"bad\":\"\"}",
        "{\"bad\":null,\"seconds\":1,\"memory_bytes_per_s\":1,"
        "\"gemm_flops_per_s\":1,\"disk_bytes_per_s\":1,\"wall_unix_s\":1,"
        "\"gpus\":0,\"cpus\":1}",
        "{\"bad\":\"\",\"seconds\":-1,\"memory_bytes_per_s\":1,"
        "\"gemm_flops_per_s\":1,\"disk_bytes_per_s\":1,\"wall_unix_s\":1,"
        "\"gpus\":0,\"cpus\":1}",
        "{\"bad\":\"\",\"seconds\":1,\"memory_bytes_per_s\":\"1\","
        "\"gemm_flops_per_s\":1,\"disk_bytes_per_s\":1,\"wall_unix_s\":1,"
        "\"gpus\":0,\"cpus\":1}",
    };
    struct preflight_result r = { .seconds = 77 };
    struct mup_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(preflight_parse(texts[i], &r, &err), MUP_CORRUPT);
    assert_float_equal(r.seconds, 77, 0);
}

/* --- many nodes --- */

#define NODES 9

struct many {
    struct preflight_answer answer[NODES];
    char bad[NODES][TEXT];
};

static void set_up(struct many *m)
{
    memset(m, 0, sizeof(*m));
    for (int i = 0; i < NODES; i++) {
        m->answer[i].answered = 1;
        m->answer[i].skew_s = 0.01 * i;
        m->answer[i].result.memory_bytes_per_s = 1e10 + 1e9 * i;
        m->answer[i].result.gemm_flops_per_s = 1e11 - 1e9 * i;
        m->answer[i].result.disk_bytes_per_s = 1e8 + 3e7 * i;
    }
}

/* The one bad node of n; -1: none, -2: several. */
static int only(char (*bad)[TEXT], int n)
{
    int found = -1;

    for (int i = 0; i < n; i++)
        if (bad[i][0])
            found = found == -1 ? i : -2;
    return found;
}

static int compare(struct many *m, int n)
{
    preflight_compare(m->answer, n, m->bad);
    return only(m->bad, n);
}

static void equal_nodes_are_all_well(void **state)
{
    struct many m;

    (void)state;
    set_up(&m);
    for (int n = 1; n <= NODES; n++)
        assert_int_equal(compare(&m, n), -1);
    /* all slow: nobody is to blame */
    for (int i = 0; i < NODES; i++)
        m.answer[i].result.gemm_flops_per_s /= 1000;
    for (int n = 1; n <= NODES; n++)
        assert_int_equal(compare(&m, n), -1);
}

static void the_odd_one_out_is_named(void **state)
{
    struct many m;

    (void)state;
    for (int n = 2; n <= NODES; n++) {
        set_up(&m);
        m.answer[1].result.gemm_flops_per_s = 1e10;
        assert_int_equal(compare(&m, n), 1);
        assert_non_null(strstr(m.bad[1], "matrix products"));
        set_up(&m);
        m.answer[0].result.memory_bytes_per_s = 1e9;
        assert_int_equal(compare(&m, n), 0);
        set_up(&m);
        m.answer[n - 1].skew_s = -60;
        assert_int_equal(compare(&m, n), n - 1);
        assert_non_null(strstr(m.bad[n - 1], "60.0 s behind"));
        set_up(&m);
        m.answer[0].answered = 0;
        m.answer[0].skew_s = 1e6;
        assert_int_equal(compare(&m, n), 0);
        assert_non_null(strstr(m.bad[0], "no readable answer"));
        set_up(&m);
        snprintf(m.answer[1].result.bad, TEXT, "its own fault");
        m.answer[1].result.gemm_flops_per_s = 0;
        assert_int_equal(compare(&m, n), 1);
        assert_string_equal(m.bad[1], "its own fault");
        /* disks may differ a lot before it means something */
        set_up(&m);
        m.answer[0].result.disk_bytes_per_s = 3e7;
        assert_int_equal(compare(&m, n), -1);
        m.answer[0].result.disk_bytes_per_s = 3e6;
        assert_int_equal(compare(&m, n), 0);
        /* beside caches, one that had to wait once is none that is bad */
        for (int i = 0; i < n; i++)
            m.answer[i].result.disk_bytes_per_s = i ? 8.5e8 : 8e7;
        assert_int_equal(compare(&m, n), -1);
    }
    set_up(&m);
    m.answer[0].answered = 0;
    assert_int_equal(compare(&m, 1), 0);
}

static void everybody_meets_everybody(void **state)
{
    for (int n = 1; n <= 17; n++) {
        const int rounds = n - 1 + n % 2;
        int met[17][17] = { { 0 } };

        for (int r = 0; r < (rounds ? rounds : 1); r++) {
            int pair[17];

            preflight_pairs(n, r, pair);
            for (int i = 0; i < n; i++) {
                assert_in_range(pair[i] + 1, 0, n);
                assert_int_not_equal(pair[i], i);
                if (pair[i] < 0) {
                    assert_int_equal(n % 2, 1);
                    continue;
                }
                assert_int_equal(pair[pair[i]], i);
                met[i][pair[i]]++;
            }
        }
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++)
                assert_int_equal(met[i][j], i != j);
    }
    (void)state;
}

/* All pairs of `rounds` rounds; slow: a node whose ways have that rate. */
static int measure_all(int n, int rounds, int slow, double rate,
                       char (*bad)[TEXT])
{
    struct preflight_pair pairs[NODES * NODES];
    int pair[NODES], n_pairs = 0;

    for (int r = 0; r < rounds; r++) {
        preflight_pairs(n, r, pair);
        for (int i = 0; i < n; i++)
            if (pair[i] > i)
                pairs[n_pairs++] = (struct preflight_pair){
                    i, pair[i], i == slow || pair[i] == slow ? rate : 1e9 + i
                };
    }
    preflight_find_slow(pairs, n_pairs, n, bad);
    return only(bad, n);
}

static void a_slow_way_has_a_slow_end(void **state)
{
    char bad[NODES][TEXT];

    (void)state;
    for (int n = 1; n <= NODES; n++)
        assert_int_equal(measure_all(n, 2, -1, 0, bad), -1);
    for (int n = 3; n <= NODES; n++)
        for (int slow = 0; slow < n; slow++) {
            assert_int_equal(measure_all(n, 3, slow, 1e7, bad), slow);
            assert_non_null(strstr(bad[slow], "its network"));
            assert_int_equal(measure_all(n, 3, slow, 0, bad), slow);
            assert_non_null(strstr(bad[slow], "do not reach it"));
        }
    /* of two nobody can tell */
    assert_int_equal(measure_all(2, 2, 0, 0, bad), -1);
    assert_int_equal(measure_all(2, 2, 0, 1e3, bad), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_that_are_well_are_counted),
        cmocka_unit_test(a_missing_or_damaged_device_is_named),
        cmocka_unit_test(what_cannot_be_read_is_bad),
        cmocka_unit_test(fatal_xids_are_found_among_others),
        cmocka_unit_test(files_stand_for_the_tools),
        cmocka_unit_test(this_machine_is_fit),
        cmocka_unit_test(the_reference_backend_is_fit_too),
        cmocka_unit_test(drills_are_found_where_they_should_be),
        cmocka_unit_test(room_and_folders_are_looked_at),
        cmocka_unit_test(an_unknown_backend_is_bad),
        cmocka_unit_test(a_drill_names_its_node),
        cmocka_unit_test(an_answer_goes_there_and_back),
        cmocka_unit_test(other_answers_are_unreadable),
        cmocka_unit_test(equal_nodes_are_all_well),
        cmocka_unit_test(the_odd_one_out_is_named),
        cmocka_unit_test(everybody_meets_everybody),
        cmocka_unit_test(a_slow_way_has_a_slow_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
