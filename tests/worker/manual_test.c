#include "tests/test.h"

#include "worker/job_field.h"
#include "worker/manual.h"
#include "worker/option_table.h"

#include <stdlib.h>

/* Dashes are escaped in the source, names are looked for as it writes them. */
static bool tells(const struct mr_buf *page, const char *name)
{
    char line[160];
    int n = sprintf(line, "\n.B ");
    for (const char *p = name; *p; p++)
        n += sprintf(line + n, *p == '-' ? "\\-" : "%c", *p);
    sprintf(line + n, "\n");
    return strstr(page->p, line) != NULL;
}

TEST(every_option_is_told)
{
    struct mr_buf page = {0};
    size_t n;
    const struct mr_option *table = mr_option_table(&n);
    mr_manual_options(&page);
    mr_buf_add_char(&page, 0);
    for (size_t i = 0; i < n; i++)
        EXPECT(tells(&page, table[i].name));
    EXPECT(strstr(page.p, "(whole number, 0 to 1024, default 0)") != NULL);
    EXPECT(strstr(page.p, "(size, 0 to 1024TiB, default 0)") != NULL);
    EXPECT(strstr(page.p, "(one of exact, fast, auto, default auto)") != NULL);
    mr_buf_fini(&page);
}

TEST(every_field_and_reason_is_told)
{
    struct mr_buf page = {0};
    size_t n;
    const struct mr_job_field *table = mr_job_field_table(&n);
    mr_manual_jobs(&page);
    mr_buf_add_char(&page, 0);
    for (size_t i = 0; i < n; i++)
        EXPECT(tells(&page, table[i].name));
    for (int i = 1; i < MR_REASON_COUNT; i++)
        EXPECT(tells(&page, mr_reason_name((enum mr_reason)i)));
    EXPECT(strstr(page.p, "(both, number 0 to 2)") != NULL);
    mr_buf_fini(&page);
}

/* No line begins with a request that is not meant. */
TEST(lines_are_groff)
{
    static const char *const requests[] = {".TH", ".SH", ".TP", ".PP", ".B ", ".BR", ".br", ".nf", ".fi", ".I "};
    struct mr_buf page = {0};
    mr_manual_options(&page);
    mr_manual_jobs(&page);
    mr_buf_add_char(&page, 0);
    for (const char *line = page.p; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        bool known = line[0] != '.' && line[0] != '\'';
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
            known |= strncmp(line, requests[i], strlen(requests[i])) == 0;
        EXPECT(known);
    }
    mr_buf_fini(&page);
}

TEST_MAIN(TEST_CASE(every_option_is_told), TEST_CASE(every_field_and_reason_is_told), TEST_CASE(lines_are_groff))
