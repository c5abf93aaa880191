/* Addresses of files beside a page. */
#ifndef SL_REPORT_LINKS_H
#define SL_REPORT_LINKS_H

#include <stddef.h>

/* The address of dir/file for a page that lies at `page`: relative, bytes that an address may not hold as %XX. Where a folder cannot be resolved, or
 * the address does not fit, file alone. Returns out. */
const char *sl_relative_link(const char *page, const char *dir, const char *file, char *out, size_t size);

#endif
