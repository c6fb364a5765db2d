/* Outputs: whole or not at all; and models written, read back and compared. */
#include "files_support.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Hides /proc from the library, which then cannot name an unnamed file and falls back to a hidden temporary name. */
static bool without_proc;

int access(const char *path, int mode) {
    if (!without_proc || strncmp(path, "/proc/", 6) != 0) return faccessat(AT_FDCWD, path, mode, 0);
    errno = ENOENT;
    return -1;
}

static int hide_proc(void **state) {
    without_proc = true;
    return 0;
}

static int show_proc(void **state) {
    without_proc = false;
    remove_tree(directory);
    return mkdir(directory, 0700);
}

/* ---- Atomic files ------------------------------------------------------------------------------------------------ */

static void appears_only_when_committed(void **state) {
    qdq_out *out;
    mkdir(at("o"), 0700);
    assert_ok(qdq_out_create(at("o/f"), &out));
    assert_ok(qdq_out_write(out, "hello ", 6));
    assert_ok(qdq_out_write(out, "", 0));
    assert_ok(qdq_out_write(out, "world", 5));
    assert_ok(qdq_out_write_at(out, 0, "H", 1));
    assert_int_equal(access(at("o/f"), F_OK), -1);
    assert_ok(qdq_out_commit(out));
    bytes b = load("o/f");
    assert_int_equal(b.n, 11);
    assert_memory_equal(b.data, "Hello world", 11);
    release(&b);
    assert_int_equal(count_entries(at("o")), 1);

    /* Replaced, not written into: whoever has the old file open keeps it. */
    int old = open(at("o/f"), O_RDONLY);
    assert_ok(qdq_out_create(at("o/f"), &out));
    assert_ok(qdq_out_write(out, "new", 3));
    assert_ok(qdq_out_commit(out));
    char text[16] = {0};
    assert_int_equal(read(old, text, 16), 11);
    close(old);
    b = load("o/f");
    assert_int_equal(b.n, 3);
    release(&b);
    assert_int_equal(count_entries(at("o")), 1);

    assert_ok(qdq_out_create(at("o/g"), &out));
    assert_ok(qdq_out_write(out, "x", 1));
    qdq_out_abort(out);
    qdq_out_abort(NULL);
    assert_int_equal(count_entries(at("o")), 1);
}

static void respects_the_umask(void **state) {
    qdq_out *out;
    struct stat st;
    mode_t was = umask(027);
    assert_ok(qdq_out_create(at("mode"), &out));
    assert_ok(qdq_out_commit(out));
    umask(was);
    assert_int_equal(stat(at("mode"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void works_in_the_current_directory(void **state) {
    qdq_out *out;
    char name[256]; /* as long as a name may be */
    memset(name, 'n', 255);
    name[255] = 0;
    int here = open(".", O_RDONLY | O_DIRECTORY);
    assert_int_equal(chdir(directory), 0);
    for (int round = 0; round < 2; round++) { /* new, then replaced */
        assert_ok(qdq_out_create(name, &out));
        assert_ok(qdq_out_write(out, "x", 1));
        assert_ok(qdq_out_commit(out));
        assert_int_equal(access(name, F_OK), 0);
    }
    assert_int_equal(fchdir(here), 0);
    close(here);
}

static void refuses_bad_targets(void **state) {
    qdq_out *out;
    assert_refused(qdq_out_create(at("missing/f"), &out), QDQ_IO_ERROR, "missing/f", "No such file");
    assert_refused(qdq_out_create("/dev/full", &out), QDQ_IO_ERROR, "/dev/full", "regular file");
    assert_refused(qdq_out_create(directory, &out), QDQ_IO_ERROR, "directory");
    assert_refused(qdq_out_create(at("x/"), &out), QDQ_IO_ERROR, "directory");
    assert_refused(qdq_out_create("", &out), QDQ_INVALID_ARGUMENT, "empty name");
    assert_refused(qdq_out_create("/proc/nothing", &out), QDQ_IO_ERROR, "/proc/nothing");
    assert_refused(qdq_out_create(NULL, &out), QDQ_INVALID_ARGUMENT, "NULL");
    mkdir(at("locked"), 0700);
    int fd = open(at("locked/there"), O_CREAT | O_WRONLY, 0400);
    close(fd);
    chmod(at("locked"), 0500);
    if (geteuid() != 0) { /* root may write anywhere */
        assert_refused(qdq_out_create(at("locked/f"), &out), QDQ_IO_ERROR, "locked/f", "Permission denied");
        assert_refused(qdq_out_create(at("locked/there"), &out), QDQ_IO_ERROR, "cannot be replaced");
    }
    chmod(at("locked"), 0700);
    assert_int_equal(count_entries(at("locked")), 1);
}

static void never_writes_an_input(void **state) {
    bytes b = safetensors("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    save("in.safetensors", b);
    qdq_model *model;
    qdq_out *out;
    qdq_writer *writer;
    assert_ok(qdq_model_open(at("in.safetensors"), &model));
    assert_int_equal(symlink("in.safetensors", at("alias")), 0);
    assert_int_equal(link(at("in.safetensors"), at("hard")), 0);
    static const char *const names[] = {"in.safetensors", "alias", "hard", "./in.safetensors"};
    for (size_t i = 0; i < 4; i++) {
        assert_refused(qdq_out_create(at(names[i]), &out), QDQ_INVALID_ARGUMENT, "is the input", "in.safetensors");
        assert_refused(qdq_writer_create(QDQ_LAYOUT_SAFETENSORS, at(names[i]), &writer), QDQ_INVALID_ARGUMENT,
                       "is the input");
    }
    /* It becomes the input between opening and finishing. */
    assert_ok(qdq_out_create(at("late"), &out));
    assert_int_equal(link(at("in.safetensors"), at("late")), 0);
    assert_refused(qdq_out_commit(out), QDQ_INVALID_ARGUMENT, "is the input");
    qdq_model_close(model);
    bytes after = load("in.safetensors");
    assert_int_equal(after.n, b.n);
    assert_memory_equal(after.data, b.data, b.n);
    release(&after);
    release(&b);
    /* A symbolic link to what is no input is replaced; what it pointed to stays. */
    assert_ok(qdq_out_create(at("alias"), &out));
    assert_ok(qdq_out_write(out, "new", 3));
    assert_ok(qdq_out_commit(out));
    struct stat st;
    assert_int_equal(lstat(at("alias"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_size, 3);
    assert_int_equal(stat(at("in.safetensors"), &st), 0);
    assert_true(st.st_size > 3);
}

static void an_index_is_an_input_too(void **state) {
    bytes b = safetensors("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    qdq_model *model;
    qdq_out *out;
    mkdir(at("sharded"), 0700);
    save("sharded/m.safetensors", b);
    release(&b);
    save_text("sharded/model.safetensors.index.json", "{\"weight_map\":{\"w\":\"m.safetensors\"}}");
    assert_ok(qdq_model_open(at("sharded"), &model));
    assert_int_equal(qdq_model_file_count(model), 1);
    assert_refused(qdq_out_create(at("sharded/model.safetensors.index.json"), &out), QDQ_INVALID_ARGUMENT,
                   "is the input", "index.json");
    qdq_model_close(model);
    assert_ok(qdq_out_create(at("sharded/model.safetensors.index.json"), &out));
    qdq_out_abort(out);
}

static void the_null_device_discards(void **state) {
    qdq_out *out;
    qdq_writer *writer;
    float w[4] = {0};
    assert_int_equal(symlink("/dev/null", at("nowhere")), 0);
    int before = count_entries(directory);
    assert_true(qdq_out_discards("/dev/null") && qdq_out_discards(at("nowhere")));
    assert_false(qdq_out_discards("/dev/full") || qdq_out_discards(directory) || qdq_out_discards(at("nothing")));
    assert_ok(qdq_out_create("/dev/null", &out));
    assert_ok(qdq_out_reserve(out, 1 << 20));
    assert_ok(qdq_out_write_at(out, 1 << 30, "x", 1));
    assert_ok(qdq_out_commit(out));
    assert_ok(qdq_writer_create(QDQ_LAYOUT_GGUF, at("nowhere"), &writer));
    assert_ok(qdq_writer_add_tensor(writer, "w", "f32", 1, (uint64_t[]){4}));
    assert_ok(qdq_writer_write(writer, w, sizeof w));
    assert_ok(qdq_writer_finish(writer));
    assert_ok(qdq_out_create("/dev/null", &out));
    qdq_out_abort(out);
    assert_int_equal(count_entries(directory), before);
    struct stat st;
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
}

/* In a child, since limits cannot be raised again. Exit status 0: as it should be. */
static int in_child(int (*body)(void)) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(body());
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int child_full_by_write(void) {
    qdq_out *out;
    char block[8192] = {0};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000});
    if (qdq_out_create(at("full/f"), &out) != QDQ_OK) return 1;
    for (int i = 0; i < 12; i++)
        if (qdq_out_write(out, block, sizeof block) != QDQ_OK) return 2;
    if (qdq_out_write(out, block, sizeof block) != QDQ_IO_ERROR) return 3;
    if (strstr(qdq_error_message(), "no output was left") == NULL) return 4;
    qdq_out_abort(out);
    return 0;
}

static int child_full_by_reserve(void) {
    qdq_writer *writer;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000});
    if (qdq_writer_create(QDQ_LAYOUT_GGUF, at("full/g"), &writer) != QDQ_OK) return 1;
    if (qdq_writer_add_tensor(writer, "w", "f32", 1, (uint64_t[]){25000}) != QDQ_OK) return 2;
    /* Known before the first byte of data. */
    if (qdq_writer_write(writer, "", 0) != QDQ_IO_ERROR) return 3;
    if (strstr(qdq_error_message(), "full/g") == NULL) return 4;
    return qdq_writer_finish(writer) == QDQ_IO_ERROR ? 0 : 5;
}

static void a_full_disk_is_an_error_and_leaves_nothing(void **state) {
    mkdir(at("full"), 0700);
    assert_int_equal(in_child(child_full_by_write), 0);
    assert_int_equal(in_child(child_full_by_reserve), 0);
    assert_int_equal(count_entries(at("full")), 0);
}

static int child_killed(void) {
    qdq_writer *writer;
    if (qdq_writer_create(QDQ_LAYOUT_SAFETENSORS, at("killed/f"), &writer) != QDQ_OK) return 1;
    if (qdq_writer_add_tensor(writer, "w", "F32", 1, (uint64_t[]){1000}) != QDQ_OK) return 2;
    if (qdq_writer_write(writer, (float[500]){0}, 2000) != QDQ_OK) return 3;
    kill(getpid(), SIGKILL);
    return 4;
}

static void on_term(int signal_number) {
    qdq_out_abort_all();
    _exit(128 + signal_number);
}

static int child_terminated(void) {
    qdq_out *out;
    signal(SIGTERM, on_term);
    if (qdq_out_create(at("killed/g"), &out) != QDQ_OK) return 1;
    if (qdq_out_write(out, "x", 1) != QDQ_OK) return 2;
    raise(SIGTERM);
    return 3;
}

static bool has_unnamed_files(void) {
    int fd = open(directory, O_TMPFILE | O_RDWR, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0 && !without_proc;
}

static void a_killed_run_leaves_no_output(void **state) {
    mkdir(at("killed"), 0700);
    assert_int_equal(in_child(child_killed), 128 + SIGKILL);
    assert_int_equal(access(at("killed/f"), F_OK), -1);
    /* Without unnamed files, one hidden temporary file is left by a kill that cannot be caught. */
    int left = count_entries(at("killed"));
    assert_int_equal(left, has_unnamed_files() ? 0 : 1);
    assert_int_equal(in_child(child_terminated), 128 + SIGTERM);
    assert_int_equal(count_entries(at("killed")), left);
}

static void many_outputs_are_counted(void **state) {
    qdq_out *outs[65];
    char name[32];
    int n = 0;
    qdq_status status = QDQ_OK;
    mkdir(at("outs"), 0700);
    for (; n < 65 && status == QDQ_OK; n++) {
        snprintf(name, sizeof name, "outs/%d", n);
        status = qdq_out_create(at(name), &outs[n]);
    }
    assert_int_equal(n, 65);
    assert_refused(status, QDQ_IO_ERROR, "64 outputs are open already");
    for (int i = 0; i < 64; i++) qdq_out_abort(outs[i]);
    assert_ok(qdq_out_create(at("outs/again"), &outs[0]));
    qdq_out_abort(outs[0]);
    assert_int_equal(count_entries(at("outs")), 0);
}

/* ---- Models ------------------------------------------------------------------------------------------------------ */

static void write_chunks(qdq_writer *writer, const void *data, uint64_t n, uint64_t chunk) {
    const uint8_t *p = data;
    for (uint64_t done = 0; done < n; done += chunk)
        assert_ok(qdq_writer_write(writer, p + done, n - done < chunk ? n - done : chunk));
}

static void safetensors_come_back(void **state) {
    uint8_t data[200];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37);
    qdq_writer *writer;
    qdq_model *model;
    uint64_t size;
    assert_ok(qdq_writer_create(QDQ_LAYOUT_SAFETENSORS, at("w.safetensors"), &writer));
    assert_ok(qdq_writer_set_string(writer, "format", "pt"));
    assert_ok(qdq_writer_set_string(writer, "quote", "\"\n\\\t\xc3\xbc"));
    assert_ok(qdq_writer_set_string(writer, "format", "np"));
    assert_ok(qdq_writer_add_tensor(writer, "bytes", "U8", 1, (uint64_t[]){3}));
    assert_ok(qdq_writer_add_tensor(writer, "a.weight", "f32", 2, (uint64_t[]){2, 3}));
    assert_ok(qdq_writer_add_tensor(writer, "empty", "BF16", 2, (uint64_t[]){0, 3}));
    assert_ok(qdq_writer_add_tensor(writer, "half", "F16", 1, (uint64_t[]){5}));
    assert_ok(qdq_writer_add_tensor(writer, "scalar", "i64", 0, NULL));
    assert_ok(qdq_writer_size(writer, &size));
    assert_int_equal(qdq_writer_tensor_bytes(writer, 1), 24);
    write_chunks(writer, data, 3, 2);
    write_chunks(writer, data + 3, 24, 5);
    write_chunks(writer, data + 27, 10, 10);
    write_chunks(writer, data + 37, 8, 1);
    assert_int_equal(access(at("w.safetensors"), F_OK), -1);
    assert_ok(qdq_writer_finish(writer));

    bytes b = load("w.safetensors");
    assert_int_equal(b.n, size);
    uint64_t header = b.data[0] | (uint64_t)b.data[1] << 8;
    assert_int_equal(header % 8, 0);
    release(&b);
    assert_ok(qdq_model_open(at("w.safetensors"), &model));
    assert_int_equal(qdq_model_tensor_count(model), 5);
    static const struct {
        const char *name, *type;
        size_t start, n, width;
    } wanted[] = {{"bytes", "U8", 0, 3, 1},
                  {"a.weight", "F32", 3, 24, 4},
                  {"empty", "BF16", 27, 0, 2},
                  {"half", "F16", 27, 10, 2},
                  {"scalar", "I64", 37, 8, 8}};
    for (size_t i = 0; i < 5; i++) {
        const qdq_tensor *t = qdq_model_find(model, wanted[i].name);
        assert_string_equal(t->type_name, wanted[i].type);
        assert_int_equal(t->bytes, wanted[i].n);
        assert_memory_equal(t->data, data + wanted[i].start, wanted[i].n);
        assert_int_equal(t->offset % wanted[i].width, 0);
    }
    assert_int_equal(qdq_model_find(model, "a.weight")->shape[0], 2);
    assert_int_equal(qdq_model_find(model, "scalar")->n_dims, 0);
    const char *text;
    uint64_t length;
    assert_int_equal(qdq_model_kv_count(model), 2);
    assert_true(qdq_kv_string(qdq_model_find_kv(model, "quote"), &text, &length));
    assert_int_equal(length, 6);
    assert_memory_equal(text, "\"\n\\\t\xc3\xbc", 6);
    assert_true(qdq_kv_string(qdq_model_find_kv(model, "format"), &text, &length));
    assert_memory_equal(text, "np", 2);

    /* Copied with its metadata: the same bytes again. */
    assert_ok(qdq_writer_create(QDQ_LAYOUT_SAFETENSORS, at("copy.safetensors"), &writer));
    assert_ok(qdq_writer_copy_metadata(writer, model));
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < 5; i++) {
            const qdq_tensor *t = qdq_model_find(model, wanted[i].name);
            if (pass == 0) assert_ok(qdq_writer_add_tensor(writer, t->name, t->type_name, t->n_dims, t->shape));
            if (pass == 1) assert_ok(qdq_writer_write(writer, t->data, t->bytes));
        }
    }
    assert_ok(qdq_writer_finish(writer));
    qdq_model_close(model);
    bytes one = load("w.safetensors"), two = load("copy.safetensors");
    assert_int_equal(one.n, two.n);
    assert_memory_equal(one.data, two.data, one.n);
    release(&one);
    release(&two);
}

static void gguf_comes_back(void **state) {
    bytes b = {0};
    put_gguf(&b, 2, 1, 6);
    put_kv_string(&b, "general.architecture", "llama");
    put_kv_int(&b, "split.no", QDQ_KV_U16, 0, 2);
    put_kv_int(&b, "split.count", QDQ_KV_U16, 1, 2);
    put_kv_int(&b, "general.alignment", QDQ_KV_U32, 64, 4);
    put_kv_int(&b, "general.file_type", QDQ_KV_U32, 0, 4);
    put_string(&b, "tokenizer.ggml.tokens");
    put_int(&b, QDQ_KV_ARRAY, 4);
    put_int(&b, QDQ_KV_STRING, 4);
    put_int(&b, 2, 8);
    put_string(&b, "a");
    put_string(&b, "\xff raw");
    put_info(&b, "w", 2, (uint64_t[]){32, 2}, 0, 0);
    pad_to(&b, 64);
    put_zeros(&b, 256);
    qdq_model *source, *model;
    qdq_writer *writer;
    uint64_t size;
    assert_ok(qdq_model_parse(QDQ_LAYOUT_GGUF, b.data, b.n, "source", &source));
    assert_ok(qdq_writer_create(QDQ_LAYOUT_GGUF, at("w.gguf"), &writer));
    assert_ok(qdq_writer_copy_metadata(writer, source));
    assert_ok(qdq_writer_set_u32(writer, "general.quantization_version", 2));
    assert_ok(qdq_writer_set_u32(writer, "general.file_type", 2));
    assert_ok(qdq_writer_set_string(writer, "note", "n"));
    assert_ok(qdq_writer_add_tensor(writer, "w", "Q4_0", 5, (uint64_t[]){1, 1, 1, 2, 32})); /* ggml's dimensions: 2 */
    assert_ok(qdq_writer_add_tensor(writer, "none", "f32", 2, (uint64_t[]){1, 0}));
    assert_ok(qdq_writer_add_tensor(writer, "norm", "F32", 1, (uint64_t[]){3}));
    assert_ok(qdq_writer_add_tensor(writer, "one", "I32", 0, NULL));
    assert_ok(qdq_writer_size(writer, &size));
    uint8_t data[52];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i + 1);
    write_chunks(writer, data, 36, 18);
    write_chunks(writer, data + 36, 12, 12);
    write_chunks(writer, data + 48, 4, 3);
    assert_ok(qdq_writer_finish(writer));
    qdq_model_close(source);
    release(&b);

    assert_ok(qdq_model_open(at("w.gguf"), &model));
    bytes file = load("w.gguf");
    assert_int_equal(file.n, size);
    assert_int_equal(file.n % 64, 0);
    assert_memory_equal(file.data, "GGUF\3\0\0\0", 8);
    static const char *const keys[] = {"general.architecture",         "general.alignment", "tokenizer.ggml.tokens",
                                       "general.quantization_version", "general.file_type", "note"};
    assert_int_equal(qdq_model_kv_count(model), 6);
    for (size_t i = 0; i < 6; i++) assert_string_equal(qdq_model_kv(model, i)->key, keys[i]);
    uint64_t value;
    assert_true(qdq_kv_u64(qdq_model_find_kv(model, "general.file_type"), &value));
    assert_int_equal(value, 2);
    const char *text;
    assert_true(qdq_kv_array_string(qdq_model_find_kv(model, "tokenizer.ggml.tokens"), 1, &text, &value));
    assert_int_equal(value, 5);
    assert_memory_equal(text, "\xff raw", 5);
    static const struct {
        const char *name, *type;
        size_t start, n;
    } wanted[] = {{"w", "q4_0", 0, 36}, {"none", "f32", 36, 0}, {"norm", "f32", 36, 12}, {"one", "i32", 48, 4}};
    for (size_t i = 0; i < 4; i++) {
        const qdq_tensor *t = qdq_model_tensor(model, i);
        assert_string_equal(t->name, wanted[i].name);
        assert_string_equal(t->type_name, wanted[i].type);
        assert_int_equal(t->bytes, wanted[i].n);
        assert_memory_equal(t->data, data + wanted[i].start, wanted[i].n);
        assert_int_equal(t->offset % 64, 0);
        for (uint64_t p = t->offset + t->bytes; p < file.n && p % 64 != 0; p++) assert_int_equal(file.data[p], 0);
    }
    assert_int_equal(qdq_model_tensor(model, 0)->n_dims, 2);
    assert_int_equal(qdq_model_tensor(model, 0)->shape[0], 2);
    assert_int_equal(qdq_model_tensor(model, 0)->shape[1], 32);
    assert_int_equal(qdq_model_tensor(model, 1)->n_dims, 1);
    assert_int_equal(qdq_model_tensor(model, 3)->elements, 1);
    qdq_model_close(model);
    release(&file);
}

static void refuses_what_a_layout_cannot_hold(void **state) {
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    const uint64_t shape[5] = {1, 1, 1, 1, 32};
    qdq_writer *gguf, *st;
    uint64_t size;
    assert_ok(qdq_writer_create(QDQ_LAYOUT_GGUF, NULL, &gguf));
    assert_ok(qdq_writer_create(QDQ_LAYOUT_SAFETENSORS, NULL, &st));
    assert_refused(qdq_writer_add_tensor(gguf, name, "f32", 1, shape), QDQ_UNSUPPORTED, "64 bytes");
    assert_ok(qdq_writer_add_tensor(gguf, name + 1, "f32", 1, shape));
    assert_ok(qdq_writer_add_tensor(st, name, "f32", 5, shape));
    assert_refused(qdq_writer_add_tensor(gguf, "w", "f32", 5, (uint64_t[]){2, 1, 1, 1, 32}), QDQ_UNSUPPORTED,
                   "5 dimensions");
    assert_refused(qdq_writer_add_tensor(gguf, "w", "F8_E4M3", 1, shape), QDQ_UNSUPPORTED, "GGUF has no type F8_E4M3");
    assert_refused(qdq_writer_add_tensor(st, "w", "q4_K", 1, shape), QDQ_UNSUPPORTED, "safetensors has no type q4_K");
    assert_refused(qdq_writer_add_tensor(st, "w", "f33", 1, shape), QDQ_UNSUPPORTED, "no type f33");
    assert_refused(qdq_writer_add_tensor(gguf, "w", "q4_K", 1, shape + 4), QDQ_INVALID_ARGUMENT, "block has 256");
    assert_refused(qdq_writer_add_tensor(st, "w", "F4", 1, shape), QDQ_INVALID_ARGUMENT, "\"w\"");
    assert_refused(qdq_writer_add_tensor(st, "__metadata__", "F32", 1, shape), QDQ_UNSUPPORTED, "no name");
    assert_refused(qdq_writer_add_tensor(st, "\xff", "F32", 1, shape), QDQ_UNSUPPORTED, "no name");
    assert_refused(qdq_writer_add_tensor(st, "w", "F32", 2, (uint64_t[]){(uint64_t)1 << 40, (uint64_t)1 << 40}),
                   QDQ_INVALID_ARGUMENT, "\"w\"");
    assert_refused(qdq_writer_set_u32(st, "k", 1), QDQ_UNSUPPORTED, "strings only");
    assert_refused(qdq_writer_set_string(gguf, "", "v"), QDQ_INVALID_ARGUMENT, "key");
    assert_refused(qdq_writer_set_string(gguf, "k", "\xff"), QDQ_INVALID_ARGUMENT, "UTF-8");
    assert_ok(qdq_writer_add_tensor(gguf, "big", "f32", 1, (uint64_t[]){(uint64_t)1 << 60}));
    assert_ok(qdq_writer_add_tensor(gguf, "bigger", "f32", 1, (uint64_t[]){(uint64_t)1 << 60}));
    assert_refused(qdq_writer_size(gguf, &size), QDQ_INVALID_ARGUMENT, "more bytes than a file");
    qdq_writer_abort(gguf);
    assert_ok(qdq_writer_add_tensor(st, name, "f32", 1, shape));
    assert_refused(qdq_writer_size(st, &size), QDQ_INVALID_ARGUMENT, "is added twice");
    qdq_writer_abort(st);
    assert_ok(qdq_writer_create(QDQ_LAYOUT_GGUF, NULL, &gguf));
    assert_ok(qdq_writer_set_u32(gguf, "general.alignment", 48));
    assert_refused(qdq_writer_size(gguf, &size), QDQ_INVALID_ARGUMENT, "power of two");
    assert_refused(qdq_writer_write(gguf, "x", 1), QDQ_INVALID_ARGUMENT, "no file");
    qdq_writer_abort(gguf);
    qdq_writer_abort(NULL);
}

static void refuses_data_that_do_not_fit(void **state) {
    qdq_writer *writer;
    mkdir(at("fit"), 0700);
    assert_ok(qdq_writer_create(QDQ_LAYOUT_GGUF, at("fit/f"), &writer));
    assert_ok(qdq_writer_add_tensor(writer, "a", "f32", 1, (uint64_t[]){2}));
    assert_ok(qdq_writer_add_tensor(writer, "b", "f32", 1, (uint64_t[]){1}));
    assert_ok(qdq_writer_write(writer, "1234", 4));
    assert_refused(qdq_writer_write(writer, "12345678", 8), QDQ_INVALID_ARGUMENT,
                   "\"a\": 8 bytes come where 4 of its 8");
    assert_refused(qdq_writer_add_tensor(writer, "c", "f32", 0, NULL), QDQ_INVALID_ARGUMENT, "after the data");
    assert_refused(qdq_writer_set_u32(writer, "k", 1), QDQ_INVALID_ARGUMENT, "after the data");
    assert_ok(qdq_writer_write(writer, "5678", 4));
    assert_refused(qdq_writer_finish(writer), QDQ_INVALID_ARGUMENT, "\"b\": 4 of its 4 bytes were not written");
    assert_int_equal(count_entries(at("fit")), 0);
    assert_ok(qdq_writer_create(QDQ_LAYOUT_GGUF, at("fit/f"), &writer));
    assert_ok(qdq_writer_add_tensor(writer, "a", "f32", 1, (uint64_t[]){1}));
    assert_ok(qdq_writer_write(writer, "1234", 4));
    assert_refused(qdq_writer_write(writer, "1", 1), QDQ_INVALID_ARGUMENT, "after the last tensor");
    assert_ok(qdq_writer_finish(writer));
    assert_int_equal(count_entries(at("fit")), 1);
    /* A model without a tensor is a model. */
    qdq_model *model;
    for (int layout = 0; layout < 2; layout++) {
        assert_ok(qdq_writer_create((qdq_layout)layout, at("fit/none"), &writer));
        assert_ok(qdq_writer_finish(writer));
        assert_ok(qdq_model_open(at("fit/none"), &model));
        assert_int_equal(qdq_model_tensor_count(model), 0);
        assert_null(qdq_model_find(model, "w"));
        qdq_model_close(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(appears_only_when_committed, NULL, show_proc),
        cmocka_unit_test_setup_teardown(appears_only_when_committed, hide_proc, show_proc),
        cmocka_unit_test_setup_teardown(respects_the_umask, NULL, show_proc),
        cmocka_unit_test_setup_teardown(respects_the_umask, hide_proc, show_proc),
        cmocka_unit_test_setup_teardown(works_in_the_current_directory, NULL, show_proc),
        cmocka_unit_test_setup_teardown(works_in_the_current_directory, hide_proc, show_proc),
        cmocka_unit_test(refuses_bad_targets),
        cmocka_unit_test_setup_teardown(never_writes_an_input, NULL, show_proc),
        cmocka_unit_test(an_index_is_an_input_too),
        cmocka_unit_test(the_null_device_discards),
        cmocka_unit_test_setup_teardown(never_writes_an_input, hide_proc, show_proc),
        cmocka_unit_test_setup_teardown(a_full_disk_is_an_error_and_leaves_nothing, NULL, show_proc),
        cmocka_unit_test_setup_teardown(a_full_disk_is_an_error_and_leaves_nothing, hide_proc, show_proc),
        cmocka_unit_test_setup_teardown(a_killed_run_leaves_no_output, NULL, show_proc),
        cmocka_unit_test_setup_teardown(a_killed_run_leaves_no_output, hide_proc, show_proc),
        cmocka_unit_test_setup_teardown(many_outputs_are_counted, NULL, show_proc),
        cmocka_unit_test_setup_teardown(many_outputs_are_counted, hide_proc, show_proc),
        cmocka_unit_test(safetensors_come_back),
        cmocka_unit_test(gguf_comes_back),
        cmocka_unit_test(refuses_what_a_layout_cannot_hold),
        cmocka_unit_test(refuses_data_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
