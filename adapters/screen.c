/* A full-screen view on ncurses. The terminal is put back in every way out but a kill. */
#include "adapters/screen.h"

#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Lines of text from the top left; what does not fit is cut. */
static void show(const struct mr_buf *text)
{
    erase();
    const char *p = text->p, *end = p + text->n;
    for (int row = 0; row < LINES && p < end; row++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        int n = (int)((newline ? newline : end) - p);
        move(row, 0);
        if (row == 0)
            attron(A_BOLD);
        addnstr(p, n < 4 * COLS ? n : 4 * COLS); /* bytes; ncurses cuts columns */
        if (row == 0)
            attroff(A_BOLD);
        if (!newline)
            break;
        p = newline + 1;
    }
    refresh();
}

int mr_screen_run(bool (*draw)(void *self, struct mr_buf *text), void *self, int interval_ms)
{
    struct mr_buf text = {0};
    setlocale(LC_CTYPE, "");
    if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)) {
        fprintf(stderr, "millrace: not a terminal\n");
        return 1;
    }
    SCREEN *screen = newterm(NULL, stdout, stdin);
    if (!screen) {
        fprintf(stderr, "millrace: this terminal is not known (TERM)\n");
        return 1;
    }
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    scrollok(stdscr, FALSE);
    timeout(interval_ms);
    for (;;) {
        mr_buf_clear(&text);
        if (!draw(self, &text))
            break;
        show(&text);
        int key = getch(); /* waits interval_ms */
        if (key == 'q' || key == 'Q' || key == 3)
            break;
    }
    endwin();
    delscreen(screen);
    mr_buf_fini(&text);
    return 0;
}
