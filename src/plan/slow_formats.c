#include "plan/slow_formats.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "model/format_list.h"

__extension__ typedef unsigned __int128 u128;

/* Files are mapped, so they have less than 2^56 bytes: a hundred times all of them is a number of 64 bits. */
enum { ONE = 1000000, LEAST = ONE / 100, MOST = ONE * 100 };

/* Decimals, as they are written, whatever the locale: "1.8" is 1800000. 0: it is none, or has more than six. */
static uint32_t parse_factor(const char *text) {
    size_t whole = strspn(text, "0123456789");
    size_t decimals = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") : 0;
    size_t length = whole + (text[whole] == '.') + decimals;
    if (text[length] != '\0' || whole + decimals == 0 || whole > 3 || decimals > 6) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < length; i++)
        if (text[i] != '.') value = 10 * value + (uint32_t)(text[i] - '0');
    for (size_t i = decimals; i < 6; i++) value *= 10;
    return value >= LEAST && value <= MOST ? value : 0;
}

static qdq_status add(qdq_slow_formats *slow, qdq_slow_formats *seen, char *entry) {
    char *equals = strchr(entry, '=');
    uint32_t factor = equals != NULL ? parse_factor(equals + 1) : 0;
    if (factor == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "'%s' is not FORMAT=FACTOR, with a factor from 0.01 to 100 of at most six decimals, as in "
                        "iq3_s=1.8",
                        qdq_printable(entry, (char[256]){0}, 256));
    *equals = '\0';
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n;
    bool source = strcasecmp(entry, QDQ_PLAN_SOURCE) == 0;
    qdq_status status = source ? QDQ_OK : qdq_parse_block_formats(entry, formats, &n);
    if (status != QDQ_OK) return status;
    uint32_t *named = source ? &seen->source : &seen->millionths[formats[0]];
    if ((*named)++ > 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "format %s is named twice", entry);
    *(source ? &slow->source : &slow->millionths[formats[0]]) = factor;
    return QDQ_OK;
}

qdq_status qdq_slow_formats_parse(const char *text, qdq_slow_formats *slow) {
    qdq_slow_formats seen = {.source = 0};
    qdq_status status = QDQ_OK;
    slow->source = ONE;
    for (uint32_t f = 0; f < QDQ_MAX_FORMATS; f++) slow->millionths[f] = ONE;
    for (const char *at = text; at != NULL && status == QDQ_OK;) {
        char entry[64];
        size_t length = strcspn(at, ",");
        snprintf(entry, sizeof entry, "%.*s", (int)(length < sizeof entry ? length : sizeof entry - 1), at);
        status = add(slow, &seen, entry);
        at = at[length] == ',' ? at + length + 1 : NULL;
    }
    return status;
}

uint64_t qdq_slow_formats_count(const qdq_slow_formats *slow, qdq_format format, uint64_t bytes) {
    uint32_t factor = format == QDQ_FORMAT_SOURCE ? slow->source : slow->millionths[format];
    return (uint64_t)(((u128)bytes * factor + ONE - 1) / ONE);
}
