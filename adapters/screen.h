/* A full-screen view on ncurses: the caller draws lines of text, this shows them until 'q', Ctrl-C or the end of input. */
#ifndef MR_ADAPTERS_SCREEN_H
#define MR_ADAPTERS_SCREEN_H

#include "base/buf.h"

#include <stdbool.h>

/* draw fills text (cleared before) every interval_ms, or ends the view by false. 0: left by the user or by draw; 1: no terminal. */
int mr_screen_run(bool (*draw)(void *self, struct mr_buf *text), void *self, int interval_ms);

#endif
