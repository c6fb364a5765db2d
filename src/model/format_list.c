#include "model/format_list.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "model/advice.h"
#include "model/llama_rules.h"
#include "base/error.h"

qdq_format_info qdq_describe_format(qdq_format format) {
    qdq_format_info info = {.size = sizeof info};
    qdq_format_describe(format, &info);
    return info;
}

bool qdq_format_is_source(qdq_format format) { return qdq_describe_format(format).block_elements == 1; }

static size_t letter(const char *text) {
    return strcspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

bool qdq_word_means(const char *word, const char *name) {
    for (;; word++, name++) {
        word += letter(word);
        name += letter(name);
        if (*word == '\0' || *name == '\0') return *word == *name;
        if (strncasecmp(word, name, 1) != 0) return false;
    }
}

/* The format, or else the mixture, whose name is spelt otherwise; NULL: none. */
static const char *format_meant(const char *word) {
    for (qdq_format f = 0; f < qdq_format_count(); f++)
        if (qdq_word_means(word, qdq_describe_format(f).name)) return qdq_describe_format(f).name;
    for (size_t i = 0; i < qdq_preset_count(); i++)
        if (qdq_word_means(word, qdq_preset_at(i)->name)) return qdq_preset_at(i)->name;
    return NULL;
}

static qdq_status no_format(const char *name, size_t length) {
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : sizeof text - 1), name);
    const qdq_preset *preset = length < sizeof text ? qdq_preset_by_name(text) : NULL;
    if (preset != NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "%s is a mixture that llama-quantize makes, not a format: most of its tensors are %s", text,
                        qdq_ggml_type_by_id(preset->type)->name);
    const char *meant = format_meant(text);
    if (meant != NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "no format is called '%s'; did you mean %s?", text, meant);
    char known[512] = "";
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", f > 0 ? ", " : "", qdq_describe_format(f).name);
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "no format is called '%.*s'; there are: %s", (int)length, name, known);
}

qdq_status qdq_parse_formats(const char *text, qdq_format *formats, uint32_t *n) {
    uint32_t count = 0;
    *n = 0;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        char name[32];
        if (length >= sizeof name) return no_format(at, sizeof name);
        memcpy(name, at, length);
        name[length] = '\0';
        qdq_format format = qdq_format_by_name(name);
        if (format == QDQ_FORMAT_NONE) return no_format(at, length);
        for (uint32_t i = 0; i < count; i++)
            if (formats[i] == format) return qdq_fail(QDQ_INVALID_ARGUMENT, "format %s is named twice", name);
        if (count == QDQ_MAX_FORMATS)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "more than %d formats are named", QDQ_MAX_FORMATS);
        formats[count++] = format;
        at += length;
        if (*at == '\0') break;
    }
    *n = count;
    return QDQ_OK;
}

static qdq_status check_listed(qdq_format format, uint32_t flags) {
    qdq_format_info info = qdq_describe_format(format);
    if (info.block_elements == 1 && (flags & QDQ_LIST_FLOATS) == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s has no blocks: it is no format here", info.name);
    if (info.importance == QDQ_IMPORTANCE_NEEDED && (flags & QDQ_LIST_WEIGHTED) == 0)
        return qdq_fail_advising(QDQ_ADVICE_IMATRIX, QDQ_INVALID_ARGUMENT, "%s needs an importance matrix", info.name);
    return QDQ_OK;
}

qdq_status qdq_parse_block_formats(const char *text, qdq_format formats[QDQ_MAX_FORMATS], uint32_t *n) {
    qdq_status status = qdq_parse_formats(text, formats, n);
    for (uint32_t i = 0; i < *n && status == QDQ_OK; i++) status = check_listed(formats[i], QDQ_LIST_WEIGHTED);
    return status;
}

static void list_all(uint32_t flags, qdq_format *formats, uint32_t *n) {
    for (qdq_format f = 0; f < qdq_format_count() && *n < QDQ_MAX_FORMATS; f++)
        if (!qdq_format_is_source(f) &&
            ((flags & QDQ_LIST_WEIGHTED) != 0 || qdq_describe_format(f).importance != QDQ_IMPORTANCE_NEEDED))
            formats[(*n)++] = f;
}

qdq_status qdq_list_formats(const char *text, uint32_t flags, qdq_format *formats, uint32_t *n) {
    if (formats == NULL || n == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_list_formats: a NULL argument");
    *n = 0;
    if (text == NULL || strcasecmp(text, "all") == 0) {
        list_all(flags, formats, n);
        return QDQ_OK;
    }
    qdq_status status = qdq_parse_formats(text, formats, n);
    for (uint32_t i = 0; i < *n && status == QDQ_OK; i++) status = check_listed(formats[i], flags);
    if (status != QDQ_OK) *n = 0;
    return status;
}
