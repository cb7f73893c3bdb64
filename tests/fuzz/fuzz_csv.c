/* Any bytes make a table whose cells can be read, or one sentence. */
#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sweep/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_cell(const struct csv *t, int64_t row, int column)
{
    struct mup_error err = { 0 };
    int64_t n;
    double v;

    assert(strlen(csv_text(t, row, column)) < CSV_MAX_BYTES);
    if (csv_real(t, row, column, &v, &err) == MUP_OK)
        assert(isfinite(v));
    else
        assert(strncmp(err.text, "f:", 2) == 0);
    (void)csv_real_or_nan(t, row, column, &v, &err);
    (void)csv_int(t, row, column, &n, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mup_error err = { 0 };
    struct csv t;
    int c;

    if (csv_open_text((const char *)data, size, "f", &t, &err)) {
        assert(strncmp(err.text, "f:", 2) == 0);
        return 0;
    }
    assert(t.columns >= 1 && t.columns <= CSV_MAX_COLUMNS);
    for (int64_t i = 0; i < t.rows; i++) {
        assert(csv_line(&t, i) > t.line[i]);
        for (int k = 0; k < t.columns; k++)
            read_cell(&t, i, k);
    }
    if (csv_column(&t, "width", 1, &c, &err) == MUP_OK)
        assert(c >= 0 && c < t.columns);
    csv_close(&t);
    return 0;
}
