/* qdq bench: how fast, beside memcpy and a ggml in the same run. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum {
    OPTION_TIERS = QDQ_LONG_OPTION,
    OPTION_GGML,
    OPTION_SIZE,
    OPTION_OP,
    OPTION_DTYPE,
    OPTION_SECONDS,
    OPTION_IMPORTANCE
};

static const qdq_cli_option options[] = {
    {'f', "format", "FORMAT[,FORMAT...]", QDQ_ARG_FORMAT, NULL, "only these formats; all of them by default"},
    {OPTION_OP, "op", "OP", QDQ_ARG_CHOICE, "roundtrip quantize dequantize error sensitivity all",
     "what is timed; roundtrip by default"},
    {OPTION_IMPORTANCE, "importance", NULL, QDQ_ARG_NONE, NULL,
     "with an importance matrix, ggml too; formats that need one have it anyway"},
    {OPTION_TIERS, "tiers", NULL, QDQ_ARG_NONE, NULL, "each of the CPU's instruction sets, not only the strongest"},
    {OPTION_DTYPE, "dtype", "DTYPE", QDQ_ARG_CHOICE, "f32 f16 bf16", "of the weights (default f32)"},
    {OPTION_SIZE, "size", "MIB", QDQ_ARG_TEXT, NULL,
     "of the large array, as f32; by default 16 times the last cache, from 256 to 1024"},
    {OPTION_SECONDS, "seconds", "N", QDQ_ARG_TEXT, NULL,
     "for each figure, at most about that long, as 0.2 (default 1)"},
    {OPTION_GGML, "ggml", "FILE", QDQ_ARG_INPUT, NULL,
     "a ggml shared library (libggml-base.so): its quantize and dequantize, on one core"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"Round trips of all formats on the best device", "qdq bench"},
    {"Two formats on the CPU, each instruction set, beside ggml",
     "qdq bench -d cpu -f q4_0,q8_0 --tiers --ggml libggml-base.so"},
    {"The fits that an importance matrix steers, beside ggml's",
     "qdq bench -d cpu --importance --op quantize --ggml libggml-base.so"},
    {"Everything on a GPU, as JSON", "qdq bench -d cuda --op all --json bench.json"},
    {0},
};

typedef struct settings {
    qdq_common common;
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n_formats;
    bool op[QDQ_OPERATION_SENSITIVITY + 1];
    bool importance;
    bool tiers;
    qdq_dtype dtype;
    uint64_t large; /* elements */
    double seconds;
    const char *ggml;
    qdq_table *table;
    json_t *results;
} settings;

static const char *const op_names[] = {"roundtrip", "quantize", "dequantize", "error", "sensitivity"};

/* The formats' operations that were asked for. The high format of a sensitivity is Q8_0, for Q8_0 itself the source. */
static uint32_t list_timings(const settings *s, qdq_timing *timings) {
    qdq_format q8_0 = qdq_format_by_name("q8_0");
    uint32_t n = 0;
    for (int kind = 0; kind <= QDQ_OPERATION_SENSITIVITY; kind++)
        for (uint32_t f = 0; f < s->n_formats && s->op[kind]; f++)
            timings[n++] = (qdq_timing){.size = sizeof timings[0],
                                        .operation = (qdq_operation)kind,
                                        .format = s->formats[f],
                                        .high = s->formats[f] == q8_0 ? QDQ_FORMAT_SOURCE : q8_0,
                                        .importance = s->importance || qdq_format_facts(s->formats[f]).importance ==
                                                                           QDQ_IMPORTANCE_NEEDED};
    return n;
}

/* Where something was timed: of the CPU with a tier and threads, else "" and 0. */
typedef struct place {
    const char *tier, *data;
    int threads;
} place;

/* A figure that is 0 is not known. */
static void add_figure(settings *s, int digits, double figure) {
    if (figure > 0)
        qdq_table_cell(s->table, "%.*f", digits, figure);
    else
        qdq_table_cell(s->table, "%s", "");
}

static void add_row(settings *s, const char *name, const char *format, const place *at, double rate, double bandwidth,
                    double of_copy, double of_ggml) {
    qdq_table_cell(s->table, "%s", name);
    qdq_table_cell(s->table, "%s", format);
    qdq_table_cell(s->table, "%s", at->tier);
    add_figure(s, 0, at->threads);
    qdq_table_cell(s->table, "%s", at->data);
    add_figure(s, 3, rate * 1e-9);
    add_figure(s, 2, bandwidth * 1e-9);
    add_figure(s, 2, of_copy);
    add_figure(s, 2, of_ggml);
}

/* The same as JSON; elements 0: of a copy. */
static json_t *add_result(settings *s, const char *name, const char *format, const place *at, uint64_t elements,
                          double rate, double bandwidth) {
    json_t *o = json_pack("{s:s}", "operation", name);
    if (format != NULL) json_object_set_new(o, "format", json_string(format));
    json_object_set_new(o, "tier", json_string(at->tier));
    json_object_set_new(o, "data", json_string(at->data));
    if (elements > 0) json_object_set_new(o, "elements", json_integer((json_int_t)elements));
    if (elements > 0) json_object_set_new(o, "elements_per_second", json_real(rate));
    json_object_set_new(o, "bytes_per_second", json_real(bandwidth));
    if (at->threads > 0) json_object_set_new(o, "threads", json_integer(at->threads));
    json_array_append_new(s->results, o);
    return o;
}

static void show(settings *s, const qdq_timing *t, const qdq_copy_timing *copy, const place *at) {
    double rate = (double)t->elements / t->seconds, bandwidth = t->bytes / t->seconds;
    double of_copy = copy->seconds > 0 ? bandwidth / (copy->bytes / copy->seconds) : 0;
    double of_ggml = t->ggml > 0 ? t->ggml / t->seconds / at->threads : 0;
    const char *name = op_names[t->operation], *format = qdq_format_name(t->format);
    add_row(s, name, format, at, rate, bandwidth, of_copy, of_ggml);
    json_t *o = add_result(s, name, format, at, t->elements, rate, bandwidth);
    if (of_copy > 0) json_object_set_new(o, "of_copy", json_real(of_copy));
    if (of_ggml > 0) json_object_set_new(o, "of_ggml_per_core", json_real(of_ggml));
    if (t->operation == QDQ_OPERATION_SENSITIVITY)
        json_object_set_new(o, "high", json_string(t->high == QDQ_FORMAT_SOURCE ? "source" : qdq_format_name(t->high)));
    if (t->importance && t->operation != QDQ_OPERATION_DEQUANTIZE) json_object_set_new(o, "importance", json_true());
}

static void show_copy(settings *s, const char *name, double bytes, double seconds, const place *at) {
    if (seconds == 0) return;
    add_row(s, name, "", at, 0, bytes / seconds, 0, 0);
    add_result(s, name, NULL, at, 0, 0, bytes / seconds);
}

/* One device, number of threads and size of the data. threads 0: a GPU. */
static qdq_status measure(settings *s, const char *device, const char *tier, int threads, bool large) {
    qdq_timing *timings = calloc(s->n_formats * (QDQ_OPERATION_SENSITIVITY + 1), sizeof *timings);
    if (!timings) return QDQ_OUT_OF_MEMORY;
    uint32_t n = list_timings(s, timings);
    /* In the cache: 64 KiB in and as much out beside each core's own; a thread's turn is 64 tiles, so that several
     * threads need more, which their shared cache holds. */
    uint64_t small = threads > 1 ? (uint64_t)threads * 64 * QDQ_TILE : 16 * QDQ_TILE;
    const place at = {tier, large ? "far over cache" : "in cache", threads};
    char line[96];
    snprintf(line, sizeof line, "%s, %s, %d thread%s", tier[0] ? tier : device, at.data, threads,
             threads == 1 ? "" : "s");
    qdq_progress_begin(line, s->common.quiet);
    qdq_timing_options wish = {.size = sizeof wish,
                               .device = device,
                               .threads = threads,
                               .dtype = s->dtype,
                               .elements = large ? s->large : small,
                               .seconds = s->seconds,
                               .ggml = threads ? s->ggml : NULL};
    qdq_copy_timing copy = {.size = sizeof copy};
    qdq_status status = qdq_time(&wish, n, timings, &copy);
    qdq_progress_end();
    if (status == QDQ_OK) {
        show_copy(s, threads ? "memcpy" : "copy", copy.bytes, copy.plain, &at);
        show_copy(s, "streaming copy", copy.bytes, copy.streaming, &at);
        for (uint32_t i = 0; i < n; i++)
            if (timings[i].seconds > 0) show(s, &timings[i], &copy, &at);
        if (s->table) qdq_table_rule(s->table);
    }
    free(timings);
    return status;
}

static qdq_status measure_cpu(settings *s) {
    int cores = s->common.threads ? s->common.threads : qdq_online_cores();
    uint32_t allowed = qdq_cpu_mask_in_force();
    const char *last = "";
    qdq_status status = QDQ_OK;
    /* Each mask adds a tier; one that this processor lacks, or may not use, changes nothing. */
    for (uint32_t tiers = s->tiers ? 1 : UINT32_MAX; status == QDQ_OK; tiers = tiers << 1 | 1) {
        qdq_cpu_mask(tiers & allowed);
        const char *tier = qdq_cpu_tier();
        for (int large = 0; large < 2 && status == QDQ_OK && strcmp(tier, last) != 0; large++) {
            status = measure(s, "cpu", tier, 1, large);
            if (cores > 1 && status == QDQ_OK) status = measure(s, "cpu", tier, cores, large);
        }
        last = tier;
        if (tiers == UINT32_MAX) break;
    }
    qdq_cpu_mask(allowed);
    return status;
}

static uint64_t default_size(void) {
    uint64_t cache = qdq_last_cache(), mebibytes = cache > 0 ? cache * 16 >> 20 : 256;
    return mebibytes < 256 ? 256 : mebibytes > 1024 ? 1024 : mebibytes;
}

static qdq_status run(settings *s, const char *ggml) {
    qdq_device *device;
    qdq_device_info info = {.size = sizeof info};
    qdq_status status = qdq_common_open_device(&s->common, &device);
    if (status != QDQ_OK) return status;
    status = qdq_device_describe(device, &info);
    qdq_device_close(device);
    if (status == QDQ_OK && ggml) status = qdq_ggml_describe(ggml, &(qdq_ggml_info){.size = sizeof(qdq_ggml_info)});
    if (status != QDQ_OK) return status;
    s->ggml = ggml;
    qdq_json_file file;
    status = qdq_json_open(s->common.json, &file);
    if (status != QDQ_OK) return status;
    s->results = json_array();
    if (qdq_common_tables(&s->common)) {
        printf("%s: %s; %s weights; best of many turns\n", info.name, info.description, qdq_dtype_name(s->dtype));
        s->table = qdq_table_create("operation|format|tier|>threads|data|>Gelem/s|>GB/s|>of copy|>x ggml, per core");
    }
    status = strcmp(info.name, "cpu") == 0 ? measure_cpu(s) : measure(s, info.name, "", 0, true);
    if (status == QDQ_OK && s->table)
        status = qdq_table_print(s->table);
    else
        qdq_table_free(s->table);
    if (status != QDQ_OK) {
        qdq_json_abort(&file);
        json_decref(s->results);
        return status;
    }
    return qdq_json_write(&file, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "schema", "qdq.bench/1", "device",
                                           info.name, "description", info.description, "compiler",
#ifdef __VERSION__
                                           __VERSION__,
#else
                                           "",
#endif
                                           "dtype", qdq_dtype_name(s->dtype), "results", s->results));
}

static bool pick_op(settings *s, const char *name) {
    if (strcmp(name, "all") == 0) {
        for (int k = 0; k <= QDQ_OPERATION_SENSITIVITY; k++) s->op[k] = true;
        return true;
    }
    for (int k = 0; k <= QDQ_OPERATION_SENSITIVITY; k++)
        if (strcmp(name, op_names[k]) == 0) return s->op[k] = true;
    return false;
}

static bool pick_dtype(settings *s, const char *name) {
    for (qdq_dtype d = QDQ_F32; d <= QDQ_BF16; d = (qdq_dtype)(d + 1))
        if (strcmp(name, qdq_dtype_name(d)) == 0) {
            s->dtype = d;
            return true;
        }
    return false;
}

int qdq_command_bench(int argc, char **argv) {
    settings s = {.dtype = QDQ_F32, .seconds = 1, .large = default_size() << 18};
    qdq_parser parser;
    const char *ggml = NULL, *names = NULL;
    bool any_op = false;
    long long number;
    char *end;
    qdq_parse_begin(&parser, &qdq_cli_bench, &s.common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case 'f': names = parser.value; break;
        case OPTION_OP:
            if (!pick_op(&s, parser.value)) return qdq_usage_error(&parser, "--op: there is no '%s'", parser.value);
            any_op = true;
            break;
        case OPTION_IMPORTANCE: s.importance = true; break;
        case OPTION_TIERS: s.tiers = true; break;
        case OPTION_DTYPE:
            if (!pick_dtype(&s, parser.value))
                return qdq_usage_error(&parser, "--dtype: '%s' is not f32, f16 or bf16", parser.value);
            break;
        case OPTION_SIZE:
            if (!qdq_parse_integer(parser.value, 1, 1 << 20, &number))
                return qdq_usage_error(&parser, "--size: '%s' is no number of MiB", parser.value);
            s.large = (uint64_t)number << 18;
            break;
        case OPTION_SECONDS:
            s.seconds = strtod(parser.value, &end);
            if (end == parser.value || *end != '\0' || !(s.seconds >= 0.001 && s.seconds <= 3600))
                return qdq_usage_error(&parser, "--seconds: '%s' is no number of seconds from 0.001 to 3600",
                                       parser.value);
            break;
        case OPTION_GGML: ggml = parser.value; break;
        }
    }
    if (parser.n_operands) return qdq_usage_error(&parser, "unexpected operand '%s'", parser.operands[0]);
    if (qdq_list_formats(names, QDQ_LIST_WEIGHTED, s.formats, &s.n_formats) != QDQ_OK)
        return qdq_usage_error(&parser, "%s", qdq_error_message());
    if (!any_op) s.op[QDQ_OPERATION_ROUNDTRIP] = true;
    qdq_status status = run(&s, ggml);
    return status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
}

const qdq_cli_command qdq_cli_bench = {
    .name = "bench",
    .summary = "how fast this device is, beside a copy and a ggml library",
    .operands = "",
    .text =
        "Times the operations on arrays that stay in the cache and on arrays far over it, with one thread and with one "
        "a core, beside memcpy and a copy past the cache with as many threads. What is compared takes turns, and each "
        "figure is the best of its turns. \"Of copy\" is the bandwidth, each input read once and each output "
        "written once, beside the better copy's. \"X ggml\" is the rate of one core beside that of ggml's quantize and "
        "dequantize on one.\n\n"
        "On a GPU the times are the device's own, and the copy is between two of its arrays.\n\n"
        "Formats that take long are timed on fewer elements.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_bench,
};
