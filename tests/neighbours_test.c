/* A block's bytes depend on the block alone: not on the instruction set, nor on what lies beside it in the tile. Lanes
 * that run together share branches, and a quick path that one lane may not take must give the others what the slow one
 * gives. Inputs are hostile: blocks of wide range, ties, subnormals, NaNs and infinities among ordinary ones. */
#include "support.h"

#include "proof/inputs.h"
#include "base/format.h"

enum { BLOCKS = 320, COLUMNS = 256 };

typedef struct importance {
    const char *name;
    bool given;
    float weight[COLUMNS];
} importance;

enum { NO_IMPORTANCE, EVEN, WIDE, HOLES, NOT_FINITE, IMPORTANCES };

static importance importances[IMPORTANCES] = {{"plain", false, {0}},
                                              {"even importance", true, {0}},
                                              {"wide importance", true, {0}},
                                              {"importance with zeros", true, {0}},
                                              {"importance that is not finite", true, {0}}};

static void make_importances(void) {
    uint64_t state = 77;
    for (int i = 0; i < COLUMNS; i++) {
        float v = random_float(&state), square = v * v + 1e-3f;
        importances[EVEN].weight[i] = square;
        importances[WIDE].weight[i] = square * float_of((uint32_t)(next_random(&state) % 200 + 27) << 23);
        importances[HOLES].weight[i] = next_random(&state) % 4 ? 0.0f : square;
        static const uint32_t odd[] = {0x7f800000u, 0x7fc00000u, 0xff800000u, 0xbf800000u, 0x00000001u, 0x7f7fffffu};
        uint32_t which = (uint32_t)(next_random(&state) % 64);
        importances[NOT_FINITE].weight[i] = which < 6 ? float_of(odd[which]) : square;
    }
}

/* Every third block is an ordinary one. */
static void make_blocks(uint32_t elements, float *x) {
    qdq_inputs hostile = qdq_inputs_adversarial(11, BLOCKS), ordinary = qdq_inputs_random(12, BLOCKS);
    for (uint32_t b = 0; b < BLOCKS; b++) {
        const qdq_inputs *inputs = b % 3 == 0 ? &ordinary : &hostile;
        inputs->fill(inputs, b, x + (size_t)b * elements, elements);
    }
}

static qdq_format_info describe(qdq_format f) {
    qdq_format_info info = {.size = sizeof info};
    assert_ok(qdq_format_describe(f, &info));
    return info;
}

typedef struct outcome {
    unsigned char packed[BLOCKS * 256];
    float values[BLOCKS * 256];
} outcome;

/* n blocks, each a row of its own. */
static void quantize(qdq_device *device, qdq_format format, const importance *m, const float *x, uint64_t n,
                     outcome *o) {
    uint32_t elements = describe(format).block_elements;
    uint64_t count = n * elements, bytes = qdq_format_bytes(format, count), columns = elements;
    qdq_buffer *in, *out, *blocks, *weights = NULL;
    assert_ok(qdq_buffer_create(device, QDQ_F32, 1, &count, &in));
    assert_ok(qdq_buffer_create(device, QDQ_F32, 1, &count, &out));
    assert_ok(qdq_buffer_create(device, QDQ_U8, 1, &bytes, &blocks));
    assert_ok(qdq_buffer_write(in, 0, x, count * 4));
    if (m->given) {
        assert_ok(qdq_buffer_create(device, QDQ_F32, 1, &columns, &weights));
        assert_ok(qdq_buffer_write(weights, 0, m->weight, columns * 4));
    }
    qdq_options options = {.size = sizeof options, .importance = weights, .row = elements};
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_encode_quantize(encoder, format, in, blocks, &options));
    assert_ok(qdq_encode_roundtrip(encoder, format, in, out, &options));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    assert_ok(qdq_buffer_read(blocks, 0, o->packed, bytes));
    assert_ok(qdq_buffer_read(out, 0, o->values, count * 4));
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    qdq_buffer_free(out);
    qdq_buffer_free(blocks);
    qdq_buffer_free(weights);
}

/* The blocks of `got` are those of `expected` from number `skip` on. */
static void same_blocks(qdq_format format, const char *what, const outcome *got, const outcome *expected,
                        uint64_t skip) {
    qdq_format_info info = describe(format);
    for (uint64_t b = skip; b < BLOCKS; b++) {
        char where[128];
        snprintf(where, sizeof where, "%s, block %llu", what, (unsigned long long)b);
        const unsigned char *g = got->packed + (b - skip) * info.block_bytes;
        const unsigned char *e = expected->packed + b * info.block_bytes;
        for (uint32_t k = 0; k < info.block_bytes; k++)
            if (g[k] != e[k]) fail_msg("%s: byte %u is %02x, expected %02x", where, k, g[k], e[k]);
        assert_same_floats(got->values + (b - skip) * info.block_elements, expected->values + b * info.block_elements,
                           info.block_elements, where);
    }
}

static void blocks_do_not_see_their_neighbours(void **state) {
    static float x[BLOCKS * 256];
    static outcome expected, got;
    make_importances();
    uint32_t mask = qdq_cpu_mask(UINT32_MAX);
    for (qdq_format f = 0; f < qdq_block_format_count(); f++) {
        qdq_format_info info = describe(f);
        for (int i = 0; i < IMPORTANCES; i++) {
            const importance *m = &importances[i];
            if (m->given ? info.importance == 0 : info.importance == 2) continue;
            make_blocks(info.block_elements, x);
            /* The scalar lanes, which have no neighbours. */
            qdq_device *scalar, *device;
            qdq_cpu_mask(1);
            assert_ok(qdq_device_open("cpu", &scalar));
            quantize(scalar, f, m, x, BLOCKS, &expected);
            qdq_device_close(scalar);
            for (uint32_t tiers = 3; tiers < 16; tiers = tiers << 1 | 1) {
                qdq_cpu_mask(tiers);
                assert_ok(qdq_device_open("cpu", &device));
                for (uint64_t skip = 0; skip < 8; skip = 2 * skip + 1) {
                    char what[96];
                    snprintf(what, sizeof what, "%s, %s, %s, moved by %llu", info.name, m->name, qdq_cpu_tier(),
                             (unsigned long long)skip);
                    quantize(device, f, m, x + skip * info.block_elements, BLOCKS - skip, &got);
                    same_blocks(f, what, &got, &expected, skip);
                }
                qdq_device_close(device);
            }
        }
    }
    qdq_cpu_mask(mask);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_do_not_see_their_neighbours)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
