/* model/file.c: whole files or none, whole lines or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "model/file.h"
#include "model/lock.h"

/* Every test works in a folder of its own, the current one. */
static int enter_folder(void **state)
{
    char dir[] = "/tmp/test-file-XXXXXX";

    if (!mkdtemp(dir) || chdir(dir) != 0)
        return -1;
    *state = strdup(dir);
    return *state ? 0 : -1;
}

static int leave_folder(void **state)
{
    char command[256];
    int rc;

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", (char *)*state);
    free(*state);
    rc = chdir("/");
    return rc == 0 && system(command) == 0 ? 0 : -1;
}

/* Files in a folder, "." and ".." not counted. */
static int count_files(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    int n = 0;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        n += entry->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void expect(const char *path, const char *text)
{
    struct mup_error err = { 0 };
    char *got;
    size_t bytes;

    assert_int_equal(file_read(path, 1 << 20, &got, &bytes, &err), MUP_OK);
    assert_int_equal(bytes, strlen(text));
    assert_string_equal(got, text);
    free(got);
}

static void folders_are_made_with_their_parents(void **state)
{
    struct mup_error err = { 0 };
    struct stat st;

    (void)state;
    assert_int_equal(file_make_dirs("a/b//c/", &err), MUP_OK);
    assert_int_equal(stat("a/b/c", &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(file_make_dirs("a/b/c", &err), MUP_OK);
    assert_int_equal(file_make_dirs("/", &err), MUP_OK);
}

static void a_file_in_the_way_of_a_folder_is_named(void **state)
{
    struct mup_error err = { 0 };

    (void)state;
    put("plain", "x");
    assert_int_equal(file_make_dirs("plain/sub", &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "'plain'"));
    assert_non_null(strstr(err.text, "in the way"));
    assert_int_equal(file_make_dirs("", &err), MUP_USAGE);
    assert_int_equal(file_make_dirs("/proc/nothing", &err), MUP_SYSTEM);
}

static void a_replaced_file_appears_only_at_commit(void **state)
{
    struct mup_error err = { 0 };
    struct file_replace f;

    (void)state;
    put("out", "old");
    assert_int_equal(file_replace_open("out", &f, &err), MUP_OK);
    assert_true(fputs("new", f.out) >= 0);
    expect("out", "old");
    assert_int_equal(file_replace_commit(&f, &err), MUP_OK);
    expect("out", "new");
    assert_int_equal(count_files("."), 1);
}

static void an_abandoned_file_leaves_nothing(void **state)
{
    struct mup_error err = { 0 };
    struct file_replace f;

    (void)state;
    assert_int_equal(file_replace_open("out", &f, &err), MUP_OK);
    assert_true(fputs("new", f.out) >= 0);
    file_replace_abandon(&f);
    file_replace_abandon(&f); /* twice is harmless */
    assert_int_equal(count_files("."), 0);
}

/* The write fault: a limit on file size makes write(2) fail with EFBIG after
 * so many bytes, as a full disk does with ENOSPC. */
static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void unlimit_file_size(void)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_write_that_fails_anywhere_keeps_the_old_file(void **state)
{
    static const rlim_t limits[] = { 1, 4095, 4096, 20000, 99999, 100000 };
    const size_t n = sizeof(limits) / sizeof(limits[0]);
    struct mup_error err = { 0 };
    struct file_replace f;

    (void)state;
    put("out", "old");
    for (size_t i = 0; i < n; i++) {
        int rc;

        assert_int_equal(file_replace_open("out", &f, &err), MUP_OK);
        limit_file_size(limits[i]);
        for (int j = 0; j < 100000; j++)
            (void)fputc('x', f.out); /* the error shows at commit */
        rc = file_replace_commit(&f, &err);
        unlimit_file_size();
        assert_int_equal(count_files("."), 1);
        if (limits[i] < 100000) {
            assert_int_equal(rc, MUP_SYSTEM);
            assert_non_null(strstr(err.text, "cannot write 'out'"));
            expect("out", "old");
        } else {
            assert_int_equal(rc, MUP_OK);
        }
    }
}

static void outputs_that_cannot_be_are_refused_in_a_sentence(void **state)
{
    struct mup_error err = { 0 };
    struct file_replace f = { .path = "untouched" };
    char *longest = calloc(1, 5000);

    (void)state;
    assert_non_null(longest);
    memset(longest, 'n', 4999);
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(file_replace_open("dir", &f, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "a folder"));
    assert_int_equal(file_replace_open("/dev/null", &f, &err), MUP_SYSTEM);
    assert_int_equal(file_replace_open("no/such/out", &f, &err), MUP_SYSTEM);
    assert_int_equal(file_replace_open("", &f, &err), MUP_USAGE);
    assert_int_equal(file_replace_open(longest, &f, &err), MUP_USAGE);
    assert_string_equal(f.path, "untouched");
    free(longest);
}

static void a_rename_that_fails_leaves_no_temporary_file(void **state)
{
    struct mup_error err = { 0 };
    struct file_replace f;

    (void)state;
    assert_int_equal(file_replace_open("out", &f, &err), MUP_OK);
    assert_int_equal(mkdir("out", 0755), 0); /* now a folder is there */
    assert_int_equal(file_replace_commit(&f, &err), MUP_SYSTEM);
    assert_int_equal(count_files("."), 1);
}

/* A disk that is full: a tmpfs of 64 KiB, which only root may mount. */
static void a_full_disk_is_a_sentence_and_keeps_the_old_file(void **state)
{
    struct mup_error err = { 0 };
    struct file_replace f;
    int fd;
    char line[8192];

    (void)state;
    assert_int_equal(mkdir("small", 0755), 0);
    if (geteuid() != 0 ||
        system("mount -t tmpfs -o size=64k none small 2>/dev/null") != 0) {
        print_message("skipped: this user cannot mount a small tmpfs\n");
        skip();
    }
    put("small/out", "old");
    assert_int_equal(file_replace_open("small/out", &f, &err), MUP_OK);
    for (int j = 0; j < 100000; j++)
        (void)fputc('x', f.out);
    assert_int_equal(file_replace_commit(&f, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "No space left"));
    assert_non_null(strstr(err.text, "free some space"));
    expect("small/out", "old");
    assert_int_equal(count_files("small"), 1);

    /* Lines: whole ones stay, none is torn. */
    memset(line, 'l', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    assert_int_equal(file_append_open("small/log", 0, &fd, &err), MUP_OK);
    while (file_append(fd, line, sizeof(line) - 100, &err) == MUP_OK)
        ;
    assert_int_equal(err.status, MUP_SYSTEM);
    assert_int_equal(lseek(fd, 0, SEEK_END) % (off_t)(sizeof(line) - 100), 0);
    assert_true(lseek(fd, 0, SEEK_END) > 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(system("umount small"), 0);
}

static void appended_lines_follow_each_other(void **state)
{
    struct mup_error err = { 0 };
    int fd;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(file_append_open("log", 1, &fd, &err), MUP_OK);
        assert_int_equal(file_append(fd, "one\n", 4, &err), MUP_OK);
        assert_int_equal(file_append(fd, "two\n", 4, &err), MUP_OK);
        assert_int_equal(close(fd), 0);
    }
    expect("log", "one\ntwo\none\ntwo\n");
}

static void a_torn_last_line_is_cut_only_when_asked(void **state)
{
    struct mup_error err = { 0 };
    char *big = malloc(10002);
    int fd;

    (void)state;
    put("log", "whole\ntorn");
    assert_int_equal(file_append_open("log", 0, &fd, &err), MUP_OK);
    assert_int_equal(close(fd), 0);
    expect("log", "whole\ntorn");
    assert_int_equal(file_append_open("log", 1, &fd, &err), MUP_OK);
    assert_int_equal(close(fd), 0);
    expect("log", "whole\n");

    put("log", "torn alone");
    assert_int_equal(file_append_open("log", 1, &fd, &err), MUP_OK);
    assert_int_equal(close(fd), 0);
    expect("log", "");

    /* Longer than the block that is searched at a time. */
    assert_non_null(big);
    memset(big, 'x', 10001);
    big[10001] = '\0';
    memcpy(big, "a\n", 2);
    put("log", big);
    free(big);
    assert_int_equal(file_append_open("log", 1, &fd, &err), MUP_OK);
    assert_int_equal(close(fd), 0);
    expect("log", "a\n");
}

static void a_line_that_does_not_fit_is_taken_back(void **state)
{
    struct mup_error err = { 0 };
    int fd, rc;

    (void)state;
    assert_int_equal(file_append_open("log", 0, &fd, &err), MUP_OK);
    assert_int_equal(file_append(fd, "0123456\n", 8, &err), MUP_OK);
    limit_file_size(12);
    rc = file_append(fd, "abcdefg\n", 8, &err);
    unlimit_file_size();
    assert_int_equal(rc, MUP_SYSTEM);
    expect("log", "0123456\n");
    assert_int_equal(file_append(fd, "next\n", 5, &err), MUP_OK);
    assert_int_equal(close(fd), 0);
    expect("log", "0123456\nnext\n");
}

static void reading_is_bounded_and_ends_in_nul(void **state)
{
    struct mup_error err = { 0 };
    char *text = NULL;
    size_t bytes = 7;

    (void)state;
    put("in", "0123456789");
    assert_int_equal(file_read("in", 9, &text, &bytes, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "larger than the 9 bytes"));
    assert_int_equal(file_read("gone", 9, &text, &bytes, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "'gone'"));
    assert_int_equal(file_read(".", 9, &text, &bytes, &err), MUP_SYSTEM);
    assert_null(text);
    assert_int_equal(bytes, 7);
    assert_int_equal(file_read("in", 10, &text, &bytes, &err), MUP_OK);
    assert_int_equal(bytes, 10);
    assert_int_equal(text[10], 0);
    free(text);
    put("in", "");
    assert_int_equal(file_read("in", 10, &text, &bytes, &err), MUP_OK);
    assert_int_equal(bytes, 0);
    free(text);
    /* No size is known in advance here, and none lies about it. */
    assert_int_equal(file_read("/proc/self/maps", 1 << 24, &text, &bytes, &err),
                     MUP_OK);
    assert_true(bytes > 0);
    free(text);
}

#define IN_FOLDER(test)                                                        \
    cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)

/* Takes the lock and dies while a child of its still has the file open, as
 * between fork and exec. */
static void die_as_holder(const char *path)
{
    struct timespec pause = { 0, 50000000 };
    struct file_lock lock;

    if (lock_take(path, "it", &lock, NULL) != MUP_OK)
        _exit(1);
    if (fork() == 0) {
        nanosleep(&pause, NULL);
        _exit(0);
    }
    (void)raise(SIGKILL);
}

static void the_lock_of_a_dead_process_is_taken_over(void **state)
{
    char path[] = "/tmp/mutransfer-lock-XXXXXX";
    struct mup_error err = { 0 };
    struct file_lock lock;
    int fd = mkstemp(path), status;
    pid_t pid;

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    pid = fork();
    if (pid == 0)
        die_as_holder(path);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    if (lock_take(path, "it", &lock, &err) != MUP_OK)
        fail_msg("%s", err.text);
    /* that of a living one is not */
    assert_int_equal(lock_take(path, "it", &lock, &err), MUP_USAGE);
    lock_release(&lock);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lock_of_a_dead_process_is_taken_over),
        IN_FOLDER(folders_are_made_with_their_parents),
        IN_FOLDER(a_file_in_the_way_of_a_folder_is_named),
        IN_FOLDER(a_replaced_file_appears_only_at_commit),
        IN_FOLDER(an_abandoned_file_leaves_nothing),
        IN_FOLDER(a_write_that_fails_anywhere_keeps_the_old_file),
        IN_FOLDER(outputs_that_cannot_be_are_refused_in_a_sentence),
        IN_FOLDER(a_rename_that_fails_leaves_no_temporary_file),
        IN_FOLDER(a_full_disk_is_a_sentence_and_keeps_the_old_file),
        IN_FOLDER(appended_lines_follow_each_other),
        IN_FOLDER(a_torn_last_line_is_cut_only_when_asked),
        IN_FOLDER(a_line_that_does_not_fit_is_taken_back),
        IN_FOLDER(reading_is_bounded_and_ends_in_nul),
    };

    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
