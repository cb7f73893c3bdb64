/* Checkpoints: any layout reads any other's, and no damage goes unseen. */
#define _GNU_SOURCE /* mkdtemp */
#include "tests/saver_fixture.inc.h"

#include <dirent.h>

static void every_layout_reads_every_other(void **state)
{
    struct holding from[MAX_RANKS], to[MAX_RANKS];
    struct team t;

    (void)state;
    new_dir(t.dir);
    for (int ranks = 1; ranks <= MAX_RANKS; ranks++)
        for (int how = 0; how < SHARINGS; how++) {
            share_out(from, ranks, how);
            start_savers(&t, ranks);
            save_well(&t, 1, from);
            stop_savers(&t);
            drop(from, ranks);
            for (int other = 1; other <= MAX_RANKS; other++)
                for (int as = 0; as < SHARINGS; as++) {
                    share_out(to, other, as);
                    assert_reads(t.dir, 1, to, other);
                    drop(to, other);
                }
        }
    remove_tree(t.dir);
}

/* Cut every tensor into boxes by random cuts through, some of them into
 * ranges, and deal them out. */
static void share_randomly(struct holding *h, int ranks, unsigned *seed)
{
    memset(h, 0, (size_t)ranks * sizeof(*h));
    for (int t = 0; t < N_TENSORS; t++) {
        struct checkpoint_part boxes[12] = { whole_of(t) };
        int n = 1;

        for (int cut = rand_r(seed) % 11; cut > 0; cut--) {
            struct checkpoint_part *a = &boxes[rand_r(seed) % n], b = *a;
            int d = rand_r(seed) % 3;
            int64_t at;

            if (a->extent[d] < 2)
                continue;
            at = 1 + rand_r(seed) % (a->extent[d] - 1);
            b.origin[d] += at;
            b.extent[d] -= at;
            a->extent[d] = at;
            boxes[n++] = b;
        }
        for (int i = 0; i < n; i++) {
            struct checkpoint_part p = boxes[i], rest;

            p.count = p.extent[0] * p.extent[1] * p.extent[2];
            rest = p;
            p.count = rand_r(seed) % 3 ? rand_r(seed) % (p.count + 1) : p.count;
            rest.first += p.count;
            rest.count -= p.count;
            if (p.count)
                add_part(&h[rand_r(seed) % ranks], p);
            if (rest.count)
                add_part(&h[rand_r(seed) % ranks], rest);
        }
    }
}

static void random_boxes_read_random_boxes(void **state)
{
    int rounds = getenv("MUTRANSFER_SOAK") ? 2000 : 60;
    struct holding from[MAX_RANKS], to[MAX_RANKS];
    unsigned seed = 5;
    struct team t;

    (void)state;
    new_dir(t.dir);
    for (int i = 0; i < rounds; i++) {
        int ranks = 1 + rand_r(&seed) % MAX_RANKS;

        share_randomly(from, ranks, &seed);
        start_savers(&t, ranks);
        save_well(&t, 1, from);
        stop_savers(&t);
        drop(from, ranks);
        for (int j = 0; j < 8; j++) {
            share_randomly(to, MAX_RANKS, &seed);
            assert_reads(t.dir, 1, to, MAX_RANKS);
            drop(to, MAX_RANKS);
        }
    }
    remove_tree(t.dir);
}

/* More than one chunk a part, read across their border. */
static void large_tensors_are_cut_into_chunks(void **state)
{
    static const int64_t shape[3] = { 1, 3, CHECKPOINT_CHUNK - 1 };
    struct checkpoint_part all = checkpoint_whole("big", "m", shape, 0, NULL);
    struct holding h = { .n = 0 };
    struct saver_options o;
    struct checkpoint c = { 0 };
    struct team t = { .ranks = 1 };

    (void)state;
    new_dir(t.dir);
    add_part(&h, all);
    o = options_of(t.dir, 0, 1);
    o.bytes = checkpoint_part_bytes(&all);
    assert_int_equal(saver_open(&o, &t.savers[0], NULL), MUP_OK);
    save_well(&t, 9, &h);
    assert_reads(t.dir, 9, &h, 1);
    drop(&h, 1);
    all.origin[2] = 5;
    all.extent[2] -= 5;
    all.first = 77;
    all.count = 2 * all.extent[2];
    add_part(&h, all);
    assert_reads(t.dir, 9, &h, 1);
    stop_savers(&t);
    drop(&h, 1);
    {
        char path[CHECKPOINT_PATH_BYTES];

        checkpoint_path(t.dir, 9, path);
        assert_int_equal(checkpoint_open(path, &c, NULL), MUP_OK);
        assert_int_equal(c.n_chunks, 3);
        checkpoint_close(&c);
    }
    remove_tree(t.dir);
}

static void another_tensor_is_a_usage_error(void **state)
{
    struct holding h[2], other = { .n = 0 };
    struct mup_error err = { 0 };
    struct checkpoint_part p;
    json_t *manifest = NULL;
    struct team t;

    (void)state;
    new_dir(t.dir);
    share_out(h, 2, BY_ROWS);
    start_savers(&t, 2);
    save_well(&t, 1, h);
    stop_savers(&t);
    drop(h, 2);
    for (int wrong = 0; wrong < 3; wrong++) {
        p = whole_of(0);
        if (wrong == 0)
            p.name = "unembed";
        else if (wrong == 1)
            p.shape[1]++;
        else
            p.dtype = DTYPE_F64;
        add_part(&other, p);
        assert_int_equal(
            checkpoint_load(t.dir, 1, other.parts, 1, &manifest, &err),
            MUP_USAGE);
        assert_non_null(strstr(err.text, wrong ? "'embed'" : "'unembed'"));
        assert_null(manifest);
        drop(&other, 1);
    }
    remove_tree(t.dir);
}

/* --- damage --- */

static off_t size_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void flip_bit(const char *path, off_t at)
{
    FILE *f = fopen(path, "r+b");
    int byte;

    assert_non_null(f);
    assert_int_equal(fseeko(f, at, SEEK_SET), 0);
    byte = fgetc(f);
    assert_int_equal(fseeko(f, at, SEEK_SET), 0);
    assert_true(fputc(byte ^ 4, f) != EOF);
    assert_int_equal(fclose(f), 0);
}

/* The checkpoint is found damaged, in that file, by a reader and by one who
 * only verifies. */
static void assert_damaged(const char *dir, const char *file)
{
    char path[CHECKPOINT_PATH_BYTES];
    struct mup_error err = { 0 };
    struct checkpoint c = { 0 };
    json_t *manifest = NULL;
    struct holding h;
    int rc;

    share_out(&h, 1, RANK_0);
    assert_int_equal(checkpoint_load(dir, 4, h.parts, h.n, &manifest, &err),
                     MUP_CORRUPT);
    assert_non_null(strstr(err.text, file));
    drop(&h, 1);
    checkpoint_path(dir, 4, path);
    rc = checkpoint_open(path, &c, &err);
    if (rc == MUP_OK) {
        rc = checkpoint_verify(&c, &err);
        assert_non_null(strstr(err.text, ", of tensor '"));
        checkpoint_close(&c);
    }
    assert_int_equal(rc, MUP_CORRUPT);
    assert_non_null(strstr(err.text, file));
}

static void damage_file(const char *dir, const char *path, const char *name)
{
    char moved[1500];
    off_t size = size_of(path);
    unsigned seed = 3;

    for (int i = 0; i < 20; i++) {
        off_t at = i == 0 ? 0 : i == 1 ? size - 1 : rand_r(&seed) % size;

        flip_bit(path, at);
        assert_damaged(dir, name);
        flip_bit(path, at);
    }
    snprintf(moved, sizeof(moved), "%s/moved", dir);
    assert_int_equal(rename(path, moved), 0);
    assert_damaged(dir, name);
    assert_int_equal(rename(moved, path), 0);
    assert_int_equal(truncate(path, size - 1), 0);
    assert_damaged(dir, name);
    assert_int_equal(truncate(path, 0), 0);
    assert_damaged(dir, name);
}

static void damage_anywhere_is_found_and_named(void **state)
{
    char path[CHECKPOINT_PATH_BYTES], file[1500];
    struct holding h[3], all;
    struct dirent *entry;
    struct team t;
    int files = 0;
    DIR *d;

    (void)state;
    new_dir(t.dir);
    share_out(h, 3, BY_RANGE);
    share_out(&all, 1, RANK_0);
    checkpoint_path(t.dir, 4, path);
    for (int more = 1; more; files++) {
        int nth = 0;

        start_savers(&t, 3);
        for (int64_t step = 2; step <= 4; step++)
            save_well(&t, step, h); /* the last one shares files */
        stop_savers(&t);
        assert_reads(t.dir, 4, &all, 1);
        d = opendir(path);
        assert_non_null(d);
        more = 0;
        while ((entry = readdir(d))) {
            if (entry->d_name[0] == '.')
                continue;
            /* one file a round, as truncation is not undone */
            if (nth++ == files) {
                snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
                damage_file(t.dir, file, entry->d_name);
            }
        }
        (void)closedir(d);
        more = nth > files + 1;
    }
    assert_true(files >= 4 + 1); /* three ranks, the manifest, a shared one */
    drop(h, 3);
    drop(&all, 1);
    remove_tree(t.dir);
}

static void count_note(void *context, const char *sentence)
{
    (void)sentence;
    ++*(int *)context;
}

static void the_newest_sound_one_is_used(void **state)
{
    struct holding h[2], all;
    struct checkpoint_found found;
    struct mup_error err = { 0 };
    struct team t;
    char file[1500];
    int notes = 0;
    struct checkpoint_latest how = { .n = 0 };

    (void)state;
    new_dir(t.dir);
    how = (struct checkpoint_latest){ .dir = t.dir,
                                      .context = &notes,
                                      .note = count_note };
    share_out(h, 2, BY_COLS);
    share_out(&all, 1, RANK_0);
    how.wants = all.parts;
    how.n = all.n;
    assert_int_equal(checkpoint_read_latest(&how, &found, &err), MUP_OK);
    assert_int_equal(found.step, 0);
    start_savers(&t, 2);
    for (int64_t step = 1; step <= 3; step++)
        save_well(&t, step, h);
    stop_savers(&t);
    snprintf(file, sizeof(file), "%s/step-0000000003/manifest.json", t.dir);
    flip_bit(file, 100);
    for (int again = 0; again < 2; again++) {
        forget(&all);
        assert_int_equal(checkpoint_read_latest(&how, &found, &err), MUP_OK);
        assert_int_equal(found.step, 2);
        assert_int_equal(found.damaged, !again);
        json_decref(found.state);
        assert_holds(&all, 2);
    }
    assert_int_equal(notes, 1);
    assert_int_equal(access(file, F_OK), -1); /* set aside */
    snprintf(file, sizeof(file), "%s/damaged-step-0000000003", t.dir);
    assert_int_equal(access(file, F_OK), 0);
    drop(h, 2);
    drop(&all, 1);
    remove_tree(t.dir);
}

static void a_renamed_checkpoint_is_not_taken_for_another_step(void **state)
{
    char from[CHECKPOINT_PATH_BYTES], to[CHECKPOINT_PATH_BYTES];
    struct mup_error err = { 0 };
    json_t *manifest = NULL;
    struct holding h;
    struct team t;

    (void)state;
    new_dir(t.dir);
    share_out(&h, 1, RANK_0);
    start_savers(&t, 1);
    save_well(&t, 3, &h);
    stop_savers(&t);
    checkpoint_path(t.dir, 3, from);
    checkpoint_path(t.dir, 9, to);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(checkpoint_load(t.dir, 9, h.parts, h.n, &manifest, &err),
                     MUP_CORRUPT);
    assert_non_null(strstr(err.text, "step 3: it was renamed"));
    drop(&h, 1);
    remove_tree(t.dir);
}

static void the_older_format_is_refused(void **state)
{
    json_t *manifest = json_pack("{s:i, s:i, s:{}, s:[]}", "format", 1, "step",
                                 3, "state", "tensors");
    struct mup_error err = { 0 };
    struct checkpoint c = { 0 };

    (void)state;
    assert_int_equal(checkpoint_parse(manifest, "old", &c, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "older version of this program"));
    json_decref(manifest);
}

/* A manifest of one tensor of 24 elements; each row breaks one rule. */
static void manifests_that_lie_are_refused(void **state)
{
    static const char good[] =
        "{'format':2,'ruleset':2,'step':3,'ranks':1,'state':{},'config':'',"
        "'chunks':[{'name':'t','kind':'m','dtype':0,'shape':[2,3,4],"
        "'origin':[0,0,0],'extent':[2,3,4],'first':0,'count':24,"
        "'file':'rank-0000-0000000003.bin','offset':0,'bytes':96,"
        "'xxh3':'0123456789abcdef'}]}";
    static const struct {
        const char *from, *to;
    } lies[] = {
        { "'step':3", "'step':0" },
        { "'ranks':1", "'ranks':0" },
        { "'state':{}", "'state':[]" },
        { "[2,3,4],'origin'", "[2,3,5],'origin'" },
        { "[2,3,4],'origin'", "[2,-3,4],'origin'" },
        { "[2,3,4],'origin'", "[2,3],'origin'" },
        { "[2,3,4],'origin'", "[4294967296,4294967296,4],'origin'" },
        { "'origin':[0,0,0]", "'origin':[0,1,0]" },
        { "'origin':[0,0,0]", "'origin':[-1,0,0]" },
        { "'origin':[0,0,0]", "'origin':[9223372036854775807,0,0]" },
        { "'first':0", "'first':1" },
        { "'first':0", "'first':9223372036854775807" },
        { "'count':24", "'count':23" },
        { "'count':24", "'count':0" },
        { "'bytes':96", "'bytes':95" },
        { "'offset':0", "'offset':-1" },
        { "'offset':0", "'offset':9223372036854775807" },
        { "'dtype':0", "'dtype':4294967296" },
        { "'file':'rank", "'file':'../rank" },
        { "'file':'rank", "'file':'.rank" },
        { "'file':'rank-0000-0000000003.bin'", "'file':7" },
        { "0123456789abcdef", "0123456789abcdeg" },
        { "'chunks':[", "'chunks':[7," },
        { "'chunks':", "'chunk':" },
    };
    struct checkpoint c = { 0 };

    (void)state;
    for (size_t i = 0; i <= sizeof(lies) / sizeof(lies[0]); i++) {
        struct mup_error err = { 0 };
        char text[1024] = "";
        json_t *manifest;
        int lie = i < sizeof(lies) / sizeof(lies[0]);

        if (lie) {
            const char *at = strstr(good, lies[i].from);

            assert_non_null(at);
            snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good,
                     lies[i].to, at + strlen(lies[i].from));
        } else {
            snprintf(text, sizeof(text), "%s", good);
        }
        for (char *q = text; *q; q++)
            *q = (char)(*q == '\'' ? '"' : *q);
        manifest = json_loads(text, 0, NULL);
        assert_non_null(manifest);
        assert_int_equal(checkpoint_parse(manifest, "it", &c, &err),
                         lie ? MUP_CORRUPT : MUP_OK);
        assert_int_equal(err.text[0] != 0, lie);
        json_decref(manifest);
    }
    checkpoint_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_reads_every_other),
        cmocka_unit_test(random_boxes_read_random_boxes),
        cmocka_unit_test(large_tensors_are_cut_into_chunks),
        cmocka_unit_test(another_tensor_is_a_usage_error),
        cmocka_unit_test(damage_anywhere_is_found_and_named),
        cmocka_unit_test(the_newest_sound_one_is_used),
        cmocka_unit_test(a_renamed_checkpoint_is_not_taken_for_another_step),
        cmocka_unit_test(the_older_format_is_refused),
        cmocka_unit_test(manifests_that_lie_are_refused),
    };

    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
