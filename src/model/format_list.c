#include "model/format_list.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "model/advice.h"
#include "model/llama_rules.h"
#include "base/error.h"

static const struct {
    qdq_format format;
    qdq_dtype dtype;
    const char *name;
    uint32_t ggml_type, bytes, ggml_file_type;
} floats[] = {
    {QDQ_FORMAT_F32, QDQ_F32, "f32", 0, 4, 0},
    {QDQ_FORMAT_F16, QDQ_F16, "f16", 1, 2, 1},
    {QDQ_FORMAT_BF16, QDQ_BF16, "bf16", 30, 2, 32},
};
enum { N_FLOATS = sizeof floats / sizeof *floats };

bool qdq_format_is_float(qdq_format format, qdq_dtype *dtype) {
    for (int i = 0; i < N_FLOATS; i++) {
        if (floats[i].format != format) continue;
        if (dtype != NULL) *dtype = floats[i].dtype;
        return true;
    }
    return false;
}

qdq_format qdq_target_by_ggml_type(uint32_t type) {
    for (int i = 0; i < N_FLOATS; i++)
        if (floats[i].ggml_type == type) return floats[i].format;
    return qdq_format_by_ggml_type(type);
}

qdq_format_info qdq_describe_format(qdq_format format) {
    qdq_format_info info = {.size = sizeof info};
    for (int i = 0; i < N_FLOATS; i++)
        if (floats[i].format == format)
            return (qdq_format_info){.size = sizeof info,
                                     .name = floats[i].name,
                                     .ggml_type = floats[i].ggml_type,
                                     .block_elements = 1,
                                     .block_bytes = floats[i].bytes,
                                     .ggml_file_type = floats[i].ggml_file_type};
    qdq_format_describe(format, &info);
    return info;
}

static qdq_format target_by_name(const char *name) {
    for (int i = 0; i < N_FLOATS; i++)
        if (strcasecmp(floats[i].name, name) == 0) return floats[i].format;
    return qdq_format_by_name(name);
}

static qdq_status no_format(const char *name, size_t length, bool with_floats) {
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : sizeof text - 1), name);
    const qdq_preset *preset = length < sizeof text ? qdq_preset_by_name(text) : NULL;
    if (preset != NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "%s is a mixture that llama-quantize makes, not a format: most of its tensors are %s", text,
                        qdq_ggml_type_by_id(preset->type)->name);
    char known[512] = "";
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", f > 0 ? ", " : "", qdq_describe_format(f).name);
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "no format is called '%.*s'; there are: %s%s", (int)length, name, known,
                    with_floats ? ", f32, f16, bf16" : "");
}

static qdq_status parse(const char *text, bool with_floats, qdq_format formats[QDQ_MAX_FORMATS], uint32_t *n) {
    uint32_t count = 0;
    *n = 0;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        char name[32];
        if (length >= sizeof name) return no_format(at, sizeof name, with_floats);
        memcpy(name, at, length);
        name[length] = '\0';
        qdq_format format = with_floats ? target_by_name(name) : qdq_format_by_name(name);
        if (format == QDQ_FORMAT_NONE) return no_format(at, length, with_floats);
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

qdq_status qdq_parse_block_formats(const char *text, qdq_format formats[QDQ_MAX_FORMATS], uint32_t *n) {
    return parse(text, false, formats, n);
}

qdq_status qdq_parse_formats(const char *text, qdq_format *formats, uint32_t *n) {
    return parse(text, true, formats, n);
}

static qdq_status check_listed(qdq_format format, uint32_t flags) {
    qdq_format_info info = qdq_describe_format(format);
    if (info.block_elements == 1 && (flags & QDQ_LIST_FLOATS) == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s has no blocks: it is no format here", info.name);
    if (info.importance == QDQ_IMPORTANCE_NEEDED && (flags & QDQ_LIST_WEIGHTED) == 0)
        return qdq_fail_advising(QDQ_ADVICE_IMATRIX, QDQ_INVALID_ARGUMENT, "%s needs an importance matrix", info.name);
    return QDQ_OK;
}

static void list_all(uint32_t flags, qdq_format *formats, uint32_t *n) {
    for (qdq_format f = 0; f < qdq_format_count() && *n < QDQ_MAX_FORMATS; f++)
        if ((flags & QDQ_LIST_WEIGHTED) != 0 || qdq_describe_format(f).importance != QDQ_IMPORTANCE_NEEDED)
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

qdq_status qdq_target_describe(qdq_format format, qdq_format_info *info) {
    if (info == NULL || !qdq_format_is_float(format, NULL)) return qdq_format_describe(format, info);
    if (info->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_target_describe: info->size is 0");
    size_t size = info->size < sizeof *info ? info->size : sizeof *info;
    qdq_format_info all = qdq_describe_format(format);
    all.size = info->size;
    memcpy(info, &all, size);
    return QDQ_OK;
}
