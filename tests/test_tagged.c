/* What mpirun prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "launcher/tagged.h"

struct lines {
    char text[2000];
};

static void keep_line(void *context, int rank, const char *text)
{
    struct lines *l = context;
    size_t used = strlen(l->text);

    snprintf(l->text + used, sizeof(l->text) - used, "%d<%s>", rank, text);
}

/* All of text at once, or byte by byte. */
static void split(struct lines *out, const char *text, size_t piece)
{
    struct tagged t;

    memset(out, 0, sizeof(*out));
    assert_int_equal(tagged_open(2, &t), 0);
    t.line = keep_line;
    t.context = out;
    for (size_t i = 0; i < strlen(text); i += piece)
        tagged_put(&t, text + i,
                   strlen(text) - i < piece ? strlen(text) - i : piece);
    tagged_close(&t);
}

static void tagged_lines_find_their_rank(void **state)
{
    static const char text[] =
        "[1,0]<stdout>:one\n[1,1]<stderr>:two\r\nmpirun says\n"
        "[1,0]<stdout>:part[1,1]<stdout>:pid 3\n[1,1]<stdout>:x"
        "[1,0]<stdout>:ial\n"
        "[1,1]<stdout>: [1,x] [1,7]<stdout>:[[1,1]<stdout>:end\n"
        "[1,0]<stdout>:\n[1,0";
    static const char want[] = "0<one>1<two>-1<mpirun says>1<pid 3>0<partial>"
                               "1<x [1,x] [1,7]<stdout>:[end>0<>-1<[1,0>";
    struct lines l;

    (void)state;
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        split(&l, text, piece);
        assert_string_equal(l.text, want);
    }
}

static void long_lines_come_in_pieces(void **state)
{
    char text[TAGGED_LINE_BYTES + 100] = "[1,1]<stdout>:";
    struct lines l;

    (void)state;
    memset(text + 14, 'x', sizeof(text) - 16);
    text[sizeof(text) - 2] = '\n';
    text[sizeof(text) - 1] = '\0';
    split(&l, text, 1000);
    assert_non_null(strstr(l.text, "x>1<x"));
}

static void mpirun_tells_how_a_rank_ended(void **state)
{
    struct tagged_end end = { .rank = -1 };

    (void)state;
    tagged_read_end("mpirun noticed that process rank 3 with PID 0 on node vm "
                    "exited on signal 11 (Segmentation fault).",
                    &end);
    assert_int_equal(end.rank, 3);
    assert_int_equal(end.signal, 11);
    end = (struct tagged_end){ .rank = -1 };
    tagged_read_end("  Process name: [[29424,1],1]", &end);
    tagged_read_end("  Exit code:    7", &end);
    assert_int_equal(end.rank, 1);
    assert_int_equal(end.status, 7);
    assert_int_equal(end.signal, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tagged_lines_find_their_rank),
        cmocka_unit_test(long_lines_come_in_pieces),
        cmocka_unit_test(mpirun_tells_how_a_rank_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
