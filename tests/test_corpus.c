/* model/corpus.c and configs/corpus.sh: text files to shards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/corpus.h"
#include "model/data.h"
#include "model/file.h"

/* Folder in which the tests were started: that of the sources. */
struct place {
    char sources[1024];
    char dir[64];
};

static int enter_folder(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    if (!place || !getcwd(place->sources, sizeof(place->sources)))
        return -1;
    (void)snprintf(place->dir, sizeof(place->dir), "/tmp/test-corpus-XXXXXX");
    if (!mkdtemp(place->dir) || chdir(place->dir) != 0)
        return -1;
    *state = place;
    return 0;
}

static int leave_folder(void **state)
{
    struct place *place = *state;
    char command[256];
    int rc = chdir(place->sources);

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", place->dir);
    free(place);
    return rc == 0 && system(command) == 0 ? 0 : -1;
}

static void put_bytes(const char *path, const char *text, size_t bytes)
{
    FILE *f;
    char dir[1024];
    char *slash;
    struct mup_error err = { 0 };

    (void)snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    if (slash) {
        *slash = '\0';
        assert_int_equal(file_make_dirs(dir, &err), MUP_OK);
    }
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* A document of lines that begin with word: about 12 bytes a line. */
static void put(const char *path, const char *word, int lines)
{
    char text[65536];
    size_t n = 0;

    for (int i = 0; i < lines; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s line %04d\n",
                              word, i);
    put_bytes(path, text, n);
}

static int prepare(const char *path, const char *output,
                   struct corpus_report *report, struct mup_error *err)
{
    char text[1024];
    char *paths[1] = { text };

    (void)snprintf(text, sizeof(text), "%s", path);
    return corpus_prepare(paths, 1, output, 5, NULL, report, err);
}

/* 60 documents of different texts below "text". */
static void put_folder(void)
{
    for (int i = 0; i < 60; i++) {
        char path[64], word[32];

        (void)snprintf(path, sizeof(path), "text/%d/doc-%d.txt", i % 7, i);
        (void)snprintf(word, sizeof(word), "word%02d", i);
        put(path, word, 20 + i);
    }
}

/* The shard at path as text, '|' for the end of a document. */
static char *shard_text(const char *path)
{
    struct mup_error err = { 0 };
    struct shard shard;
    int32_t *token;
    char *text;

    assert_int_equal(shard_open(path, &shard, &err), MUP_OK);
    token = malloc((size_t)shard.tokens * sizeof(*token) + 1);
    text = malloc((size_t)shard.tokens + 1);
    assert_non_null(token);
    assert_non_null(text);
    shard_read(&shard, 0, shard.tokens, token);
    for (int64_t i = 0; i < shard.tokens; i++)
        text[i] = token[i] == TOKEN_END_OF_DOCUMENT ? '|' : (char)token[i];
    text[shard.tokens] = '\0';
    free(token);
    shard_close(&shard);
    return text;
}

static int count(const char *text, const char *part)
{
    int n = 0;

    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

static void documents_are_split_whole_and_none_is_lost(void **state)
{
    struct corpus_report r = { 0 };
    struct mup_error err = { 0 };
    char *train, *valid;

    (void)state;
    put_folder();
    assert_int_equal(prepare("text", "out/corpus.bin", &r, &err), MUP_OK);
    assert_string_equal(r.train_path, "out/corpus.bin");
    assert_string_equal(r.valid_path, "out/corpus-valid.bin");
    assert_string_equal(r.manifest_path, "out/corpus.json");
    assert_int_equal(r.split_by_tail, 0);
    assert_int_equal(r.train_documents + r.valid_documents, 60);
    assert_true(r.valid_documents > 2 && r.valid_documents < 30);
    train = shard_text(r.train_path);
    valid = shard_text(r.valid_path);
    assert_int_equal(count(train, "|"), r.train_documents);
    assert_int_equal(count(valid, "|"), r.valid_documents);
    assert_int_equal(strlen(train), r.train_bytes + r.train_documents);
    assert_int_equal(strlen(valid), r.valid_bytes + r.valid_documents);
    for (int i = 0; i < 60; i++) {
        char word[32];
        int in_train, in_valid;

        (void)snprintf(word, sizeof(word), "word%02d line", i);
        in_train = count(train, word);
        in_valid = count(valid, word);
        assert_int_equal(in_train + in_valid, 20 + i);
        assert_true(in_train == 0 || in_valid == 0);
    }
    free(train);
    free(valid);
}

static void the_result_depends_on_the_texts_alone(void **state)
{
    struct corpus_report a = { 0 }, b = { 0 }, again = { 0 };
    struct mup_error err = { 0 };

    (void)state;
    put_folder();
    assert_int_equal(prepare("text", "a", &a, &err), MUP_OK);
    assert_int_equal(system("mkdir moved && cp -r text moved/other"), 0);
    assert_int_equal(prepare("moved/other/", "b.bin", &b, &err), MUP_OK);
    assert_string_equal(a.train_hash, b.train_hash);
    assert_string_equal(a.valid_hash, b.valid_hash);
    assert_int_equal(system("cmp a.bin b.bin && cmp a-valid.bin b-valid.bin"),
                     0);
    /* Written into the folder that is read: not read again. */
    assert_int_equal(prepare("text", "text/c.bin", &again, &err), MUP_OK);
    assert_int_equal(prepare("text", "text/c.bin", &again, &err), MUP_OK);
    assert_string_equal(a.train_hash, again.train_hash);
    assert_int_equal(again.dropped_binary, 0);
}

static void the_hash_is_the_one_that_training_reports(void **state)
{
    struct corpus_report r = { 0 };
    struct mup_error err = { 0 };
    struct data data;
    char hex[33];

    (void)state;
    put_folder();
    assert_int_equal(prepare("text", "a.bin", &r, &err), MUP_OK);
    assert_int_equal(
        data_open("a.bin", "train", 8, BYTE_VOCAB, 0, 1, &data, &err), MUP_OK);
    (void)snprintf(hex, sizeof(hex), "%016llx%016llx",
                   (unsigned long long)data.hash[0],
                   (unsigned long long)data.hash[1]);
    assert_string_equal(hex, r.train_hash);
    assert_int_equal(data.byte_level, 1);
    data_close(&data);
}

static void
short_binary_and_repeated_files_are_dropped_and_counted(void **state)
{
    struct corpus_report r = { 0 };
    struct mup_error err = { 0 };
    char binary[1000], late[5000];
    char *train, *valid;

    (void)state;
    put_folder();
    memset(binary, 'b', sizeof(binary));
    binary[999] = '\0';
    put_bytes("text/binary", binary, sizeof(binary));
    /* A NUL behind the first 4 KB is just a byte. */
    memset(late, 'l', sizeof(late));
    late[4096] = '\0';
    put_bytes("text/late", late, sizeof(late));
    put_bytes("text/short", binary, 199);
    put_bytes("text/empty", "", 0);
    put_bytes("text/enough", binary, 200);
    put_bytes("text/enough-again", binary, 200);
    put("text/.hidden", "hidden", 40);
    put("text/.git/config", "hidden", 40);
    put("elsewhere.txt", "linked", 40);
    assert_int_equal(symlink("../elsewhere.txt", "text/link.txt"), 0);
    assert_int_equal(symlink("..", "text/loop"), 0);
    assert_int_equal(mkfifo("text/pipe", 0644), 0);
    assert_int_equal(prepare("text", "a.bin", &r, &err), MUP_OK);
    assert_int_equal(r.dropped_binary, 1);
    assert_int_equal(r.dropped_short, 2);
    assert_int_equal(r.dropped_duplicate, 1);
    assert_int_equal(r.train_documents + r.valid_documents, 62);
    train = shard_text("a.bin");
    valid = shard_text("a-valid.bin");
    assert_int_equal(count(train, "hidden") + count(valid, "hidden"), 0);
    assert_int_equal(count(train, "linked") + count(valid, "linked"), 0);
    free(train);
    free(valid);
}

static void latin_1_becomes_utf_8_and_utf_8_stays(void **state)
{
    static const char *const bad[] = { "\xe9t\xe9 ", "\xc0\x80", "\xed\xa0\x80",
                                       "\xf4\x90\x80\x80", "\xe2\x82" };
    struct corpus_report r = { 0 };
    struct mup_error err = { 0 };
    char path[32], text[1000];
    char *train, *valid;

    (void)state;
    for (int i = 0; i < 5; i++) {
        memset(text, 'a' + i, sizeof(text));
        memcpy(text + 500, bad[i], strlen(bad[i]));
        (void)snprintf(path, sizeof(path), "text/%d.txt", i);
        put_bytes(path, text, sizeof(text));
    }
    memset(text, 'x', sizeof(text));
    memcpy(text + 100, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 11);
    put_bytes("text/good.txt", text, sizeof(text));
    assert_int_equal(prepare("text", "a.bin", &r, &err), MUP_OK);
    assert_int_equal(r.transcoded, 5);
    train = shard_text("a.bin");
    valid = shard_text("a-valid.bin");
    assert_int_equal(count(train, "\xc3\xa9t\xc3\xa9 ") +
                         count(valid, "\xc3\xa9t\xc3\xa9 "),
                     1);
    assert_int_equal(
        count(train, "\xf0\x9f\x98\x80") + count(valid, "\xf0\x9f\x98\x80"), 1);
    free(train);
    free(valid);
}

static void one_book_alone_is_split_at_a_line_near_its_end(void **state)
{
    struct corpus_report r = { 0 };
    struct mup_error err = { 0 };
    char *train, *valid;

    (void)state;
    put("book.txt", "book", 1000);
    assert_int_equal(prepare("book.txt", "a.bin", &r, &err), MUP_OK);
    assert_int_equal(r.split_by_tail, 1);
    assert_int_equal(r.train_documents, 1);
    assert_int_equal(r.valid_documents, 1);
    train = shard_text("a.bin");
    valid = shard_text("a-valid.bin");
    assert_int_equal(count(train, "book line"), 801);
    assert_int_equal(count(valid, "book line"), 199);
    assert_int_equal(strncmp(valid, "book line 0801\n", 15), 0);
    assert_int_equal(count(train, "book line 0800\n|"), 1);
    free(train);
    free(valid);
}

static void the_manifest_tells_counts_hashes_and_packages(void **state)
{
    struct corpus_report r = { 0 };
    struct mup_error err = { 0 };
    char text[] = "text";
    char *paths[1] = { text };
    const char *file, *hash, *name, *version;
    json_int_t tokens, documents;
    json_t *manifest;

    (void)state;
    put_folder();
    put_bytes("list", "git-doc 1:2.39\n\nvim 2:9.0\n", 26);
    assert_int_equal(corpus_prepare(paths, 1, "out/a.bin", 5, "list", &r, &err),
                     MUP_OK);
    manifest = json_load_file("out/a.json", JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(manifest);
    assert_int_equal(json_array_size(json_object_get(manifest, "packages")), 2);
    assert_int_equal(
        json_unpack(manifest, "{s:{s:s, s:s, s:I, s:I}, s:[{s:s, s:s}]}",
                    "train", "file", &file, "xxh3_128", &hash, "tokens",
                    &tokens, "documents", &documents, "packages", "name", &name,
                    "version", &version),
        0);
    assert_string_equal(file, "a.bin");
    assert_string_equal(hash, r.train_hash);
    assert_int_equal(documents, r.train_documents);
    assert_int_equal(tokens, r.train_bytes + r.train_documents);
    assert_string_equal(name, "git-doc");
    assert_string_equal(version, "1:2.39");
    json_decref(manifest);
    put_bytes("list", "git-doc\n", 8);
    assert_int_equal(corpus_prepare(paths, 1, "out/a.bin", 5, "list", &r, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "list:1:"));
}

static void what_cannot_be_prepared_is_told_in_a_sentence(void **state)
{
    struct corpus_report r = { .train_documents = -7 };
    struct mup_error err = { 0 };
    char text[] = "text";
    char *paths[1] = { text };

    (void)state;
    assert_int_equal(prepare("gone", "a.bin", &r, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "'gone'"));
    assert_int_equal(mkdir("empty", 0755), 0);
    assert_int_equal(prepare("empty", "a.bin", &r, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "no text in 'empty'"));
    put_bytes("empty/short", "short", 5);
    assert_int_equal(prepare("empty", "a.bin", &r, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "1 shorter than 200 bytes"));
    put_folder();
    assert_int_equal(prepare("text", "out/", &r, &err), MUP_USAGE);
    assert_int_equal(prepare("text", "out/.bin", &r, &err), MUP_USAGE);
    assert_int_equal(prepare("text", "empty/short/a.bin", &r, &err),
                     MUP_SYSTEM);
    assert_non_null(strstr(err.text, "in the way"));
    assert_int_equal(prepare("/dev/null", "a.bin", &r, &err), MUP_SYSTEM);
    assert_int_equal(corpus_prepare(paths, 1, "a.bin", 1, NULL, &r, &err),
                     MUP_USAGE);
    assert_int_equal(corpus_prepare(paths, 0, "a.bin", 5, NULL, &r, &err),
                     MUP_USAGE);
    assert_int_not_equal(access("a.bin", F_OK), 0);
}

static void a_full_disk_leaves_the_old_corpus(void **state)
{
    struct corpus_report r = { 0 };
    struct mup_error err = { 0 };

    (void)state;
    put_folder();
    assert_int_equal(mkdir("small", 0755), 0);
    if (geteuid() != 0 ||
        system("mount -t tmpfs -o size=64k none small 2>/dev/null") != 0) {
        print_message("skipped: this user cannot mount a small tmpfs\n");
        skip();
    }
    put_bytes("small/a.bin", "old", 3);
    assert_int_equal(prepare("text", "small/a.bin", &r, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "small/a"));
    assert_non_null(strstr(err.text, "free some space"));
    assert_int_equal(system("test $(ls small) = a.bin && "
                            "test $(cat small/a.bin) = old && umount small"),
                     0);
}

/* ---- configs/corpus.sh ------------------------------------------------ */

/* Stand-ins for apt on PATH: one that answers as without network, and one
 * that hands out packages built here. */
static const char stand_ins[] =
    "mkdir -p off on; "
    "printf '#!/bin/sh\\nexit 0\\n' | tee off/apt-cache >on/apt-cache; "
    "printf '#!/bin/sh\\necho \"E: no route\" >&2; exit 100\\n' >off/apt-get; "
    "printf '#!/bin/sh\\ncp %s/debs/*.deb .\\n' \"$PWD\" >on/apt-get; "
    "printf '#!/bin/sh\\nshift 2\\necho \"$@\"\\nfind \"$2\" -type f | sort\\n"
    "cat \"$6\"; for f in \"$4\" \"${4%%.bin}-valid.bin\" \"${4%%.bin}.json\"; "
    "do echo x >\"$f\"; done\\n' >program; "
    "chmod +x off/* on/* program; "
    "pack() { mkdir -p \"$1/DEBIAN\"; printf 'Package: %s\\nVersion: 1:2-3\\n"
    "Architecture: all\\nMaintainer: x <x@x>\\nDescription: x\\n' \"$1\" "
    ">\"$1/DEBIAN/control\"; dpkg-deb --build \"$1\" debs >/dev/null; }; "
    "mkdir -p debs git-doc/usr/share/doc/git-doc/howto "
    "vim-runtime/usr/share/vim/vim90/doc vim-runtime/usr/share/vim/vim90/lua; "
    "echo 1 >git-doc/usr/share/doc/git-doc/git.txt; "
    "echo 1 >git-doc/usr/share/doc/git-doc/howto/a.txt; "
    "echo 1 >git-doc/usr/share/doc/git-doc/git.html; "
    "echo 1 >vim-runtime/usr/share/vim/vim90/doc/help.txt; "
    "echo 1 >vim-runtime/usr/share/vim/vim90/lua/no.txt; "
    "pack git-doc; pack vim-runtime";

/* Run "PATH=$PWD/bin:$PATH corpus.sh arguments", outputs to out and err. */
static int run_script(const struct place *place, const char *bin,
                      const char *arguments)
{
    char command[4096];
    int rc;

    (void)snprintf(command, sizeof(command),
                   "MUTRANSFER=$PWD/program PATH=$PWD/%s:$PATH "
                   "'%s/configs/corpus.sh' %s >out 2>err",
                   bin, place->sources, arguments);
    rc = system(command);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static int holds(const char *path, const char *part)
{
    struct mup_error err = { 0 };
    char *text;
    size_t bytes;
    int found;

    assert_int_equal(file_read(path, 1 << 20, &text, &bytes, &err), MUP_OK);
    found = strstr(text, part) != NULL;
    free(text);
    return found;
}

static int no_script(const struct place *place)
{
    char path[2048];

    (void)snprintf(path, sizeof(path), "%s/configs/corpus.sh", place->sources);
    if (access(path, X_OK) == 0 &&
        system("command -v dpkg-deb >/dev/null") == 0)
        return 0;
    print_message("skipped: no dpkg-deb, or not started in the sources\n");
    return 1;
}

static void without_network_the_script_says_what_to_do_instead(void **state)
{
    const struct place *place = *state;

    if (no_script(place))
        skip();
    assert_int_equal(system(stand_ins), 0);
    assert_int_equal(run_script(place, "off", "quickstart c"), 3);
    assert_true(holds("err", "make quickstart CORPUS=FOLDER"));
    assert_true(holds("err", "no route"));
    assert_int_equal(system("test ! -s out && test $(ls c) = cache"), 0);
    assert_int_equal(run_script(place, "off", "folder gone c"), 2);
    assert_int_equal(run_script(place, "off", ""), 2);
    assert_int_equal(run_script(place, "off", "wikipedia"), 2);
}

static void the_script_unpacks_the_texts_and_fetches_them_once(void **state)
{
    const struct place *place = *state;

    if (no_script(place))
        skip();
    assert_int_equal(system(stand_ins), 0);
    assert_int_equal(run_script(place, "on", "quickstart c"), 0);
    assert_true(holds("out", "/c/quickstart.bin\n"));
    assert_true(holds("err", "text/git/git.txt\ntext/git/howto/a.txt\n"
                             "text/vim/doc/help.txt\n"
                             "git-doc 1:2-3\nvim-runtime 1:2-3\n"));
    /* Now it is there: no network is needed any more. */
    assert_int_equal(run_script(place, "off", "quickstart c"), 0);
    assert_true(holds("out", "/c/quickstart.bin\n"));
    assert_int_equal(system("test -z \"$(find c -name 'unpack*')\""), 0);
}

#define IN_FOLDER(test)                                                        \
    cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(documents_are_split_whole_and_none_is_lost),
        IN_FOLDER(the_result_depends_on_the_texts_alone),
        IN_FOLDER(the_hash_is_the_one_that_training_reports),
        IN_FOLDER(short_binary_and_repeated_files_are_dropped_and_counted),
        IN_FOLDER(latin_1_becomes_utf_8_and_utf_8_stays),
        IN_FOLDER(one_book_alone_is_split_at_a_line_near_its_end),
        IN_FOLDER(the_manifest_tells_counts_hashes_and_packages),
        IN_FOLDER(what_cannot_be_prepared_is_told_in_a_sentence),
        IN_FOLDER(a_full_disk_leaves_the_old_corpus),
        IN_FOLDER(without_network_the_script_says_what_to_do_instead),
        IN_FOLDER(the_script_unpacks_the_texts_and_fetches_them_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
