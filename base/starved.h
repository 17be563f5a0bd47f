/* How often the system has refused this process memory. What a job or a record may take has limits of its own, and passing them is
 * the job's fault; a refusal by the system is not, and whoever is about to blame the input looks here first. Any thread. */
#ifndef MR_BASE_STARVED_H
#define MR_BASE_STARVED_H

#include <stdint.h>

uint64_t mr_starved_count(void);
void mr_starved_add(void); /* an allocation came back NULL; arena.c and buf.c tell it for all who allocate through them */

#endif
