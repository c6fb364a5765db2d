"""Small models with the layers, names and metadata of real ones, for llama-quantize's presets: one of each kind that its
rules tell apart. model(NAME) -> (metadata, tensors): [(key, kind, value)], {name: [extents, slowest first]}."""

U16, U32, I32, FLOAT, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9
WORDS = 256  # the vocabulary


class Builder:
    def __init__(self, architecture, layers, width, heads, kv_heads, feed_forward, **numbers):
        self.architecture, self.layers, self.width = architecture, layers, width
        self.kv, self.ff = width // heads * kv_heads, feed_forward
        self.metadata = [("general.architecture", STRING, architecture), ("general.name", STRING, "made for tests"),
                         ("general.file_type", U32, 0)]
        self.number(block_count=layers, context_length=512, embedding_length=width, feed_forward_length=feed_forward)
        self.number(**{"attention.head_count": heads, "attention.head_count_kv": kv_heads})
        self.number(**{key.replace("__", "."): value for key, value in numbers.items()})
        self.tensors = {}

    def number(self, **values):
        for key, value in values.items():
            kind = BOOL if isinstance(value, bool) else U32 if isinstance(value, int) else FLOAT
            self.metadata.append((self.architecture + "." + key, kind, value))

    def add(self, name, *shape):
        self.tensors[name] = list(shape)

    def embedding(self, output=True, **further):
        self.add("token_embd.weight", WORDS, self.width)
        if output:
            self.add("output.weight", WORDS, self.width)
        self.add("output_norm.weight", self.width)

    def attention(self, i, fused=False):
        b, w = "blk.%d." % i, self.width
        self.add(b + "attn_norm.weight", w)
        if fused:
            self.add(b + "attn_qkv.weight", w + 2 * self.kv, w)
        else:
            self.add(b + "attn_q.weight", w, w)
            self.add(b + "attn_k.weight", self.kv, w)
            self.add(b + "attn_v.weight", self.kv, w)
        self.add(b + "attn_output.weight", w, w)

    def dense(self, i, gate=True):
        b = "blk.%d." % i
        self.add(b + "ffn_norm.weight", self.width)
        if gate:
            self.add(b + "ffn_gate.weight", self.ff, self.width)
        self.add(b + "ffn_down.weight", self.width, self.ff)
        self.add(b + "ffn_up.weight", self.ff, self.width)

    def experts(self, i, n, shared=False):
        b, w = "blk.%d." % i, self.width
        self.add(b + "ffn_gate_inp.weight", n, w)
        self.add(b + "ffn_gate_exps.weight", n, self.ff, w)
        self.add(b + "ffn_down_exps.weight", n, w, self.ff)
        self.add(b + "ffn_up_exps.weight", n, self.ff, w)
        if shared:
            self.add(b + "ffn_gate_shexp.weight", self.ff, w)
            self.add(b + "ffn_down_shexp.weight", w, self.ff)
            self.add(b + "ffn_up_shexp.weight", self.ff, w)

    def done(self):
        return self.metadata, self.tensors


RMS = {"attention__layer_norm_rms_epsilon": 1e-5}


def llama(layers=16, heads=8, kv_heads=2):
    m = Builder("llama", layers, 256, heads, kv_heads, 512, **RMS)
    m.embedding()
    for i in range(layers):
        m.attention(i)
        m.dense(i)
    return m.done()


def mixtral(layers=16):
    """llama with 8 experts"""
    m = Builder("llama", layers, 256, 8, 2, 256, expert_count=8, expert_used_count=2, **RMS)
    m.embedding()
    for i in range(layers):
        m.attention(i)
        m.experts(i, 8)
    return m.done()


def qwen3(layers=20):
    """No output.weight: the embedding serves."""
    m = Builder("qwen3", layers, 256, 4, 2, 768, **RMS)
    m.embedding(output=False)
    for i in range(layers):
        m.attention(i)
        m.add("blk.%d.attn_q_norm.weight" % i, 64)
        m.dense(i)
    return m.done()


def qwen3moe(layers=16):
    m = Builder("qwen3moe", layers, 256, 8, 1, 256, expert_count=16, expert_used_count=4,
                expert_feed_forward_length=256, **RMS)
    m.embedding()
    for i in range(layers):
        m.attention(i)
        m.experts(i, 16)
    return m.done()


def gemma3(layers=18):
    """Rows of 320 and 160: most formats fall back."""
    m = Builder("gemma3", layers, 320, 4, 2, 1024, attention__sliding_window=512, **RMS)
    m.embedding(output=False)
    for i in range(layers):
        m.attention(i)
        m.dense(i)
    return m.done()


def gemma3n(layers=16):
    m = Builder("gemma3n", layers, 256, 4, 2, 512, attention__sliding_window=512, **RMS)
    m.embedding(output=False)
    m.add("per_layer_token_embd.weight", WORDS, 32 * layers)
    m.add("per_layer_model_proj.weight", 32 * layers, 256)
    m.add("altup_proj.weight", 2, 256, 256)
    for i in range(layers):
        m.attention(i)
        m.dense(i)
        m.add("blk.%d.laurel_l.weight" % i, 64, 256)
        m.add("blk.%d.inp_gate.weight" % i, 48, 256)
        m.add("blk.%d.proj.weight" % i, 256, 48)  # rows of 48: no multiple of 32
    return m.done()


def phi3(layers=16):
    m = Builder("phi3", layers, 256, 4, 4, 512, attention__sliding_window=512, **RMS)
    m.embedding()
    for i in range(layers):
        m.attention(i, fused=True)
        m.dense(i, gate=False)
    return m.done()


def bert(layers=12):
    m = Builder("bert", layers, 384, 12, 12, 768, attention__layer_norm_epsilon=1e-12)
    m.add("token_embd.weight", WORDS, 384)
    m.add("position_embd.weight", 512, 384)
    m.add("token_types.weight", 2, 384)
    m.add("token_embd_norm.weight", 384)
    for i in range(layers):
        m.attention(i)
        m.add("blk.%d.attn_q.bias" % i, 384)
        m.dense(i, gate=False)
    return m.done()


def deepseek2(layers=16):
    """Latent attention, one dense layer before those with experts, shared experts."""
    m = Builder("deepseek2", layers, 256, 8, 1, 256, expert_count=4, expert_used_count=2, expert_shared_count=1,
                expert_feed_forward_length=256, attention__q_lora_rank=128, attention__kv_lora_rank=128,
                leading_dense_block_count=1, expert_gating_func=2, **RMS)
    m.embedding()
    for i in range(layers):
        b = "blk.%d." % i
        m.add(b + "attn_q_a.weight", 128, 256)
        m.add(b + "attn_q_b.weight", 512, 128)
        m.add(b + "attn_kv_a_mqa.weight", 160, 256)
        m.add(b + "attn_k_b.weight", 8, 128, 32)
        m.add(b + "attn_v_b.weight", 8, 32, 128)
        m.add(b + "attn_kv_b.weight", 512, 128)
        m.add(b + "attn_output.weight", 256, 256)
        m.dense(i) if i == 0 else m.experts(i, 4, shared=True)
    return m.done()


def falcon(layers=32):
    m = Builder("falcon", layers, 256, 8, 1, 512, attention__layer_norm_epsilon=1e-5)
    m.embedding()
    for i in range(layers):
        m.attention(i, fused=True)
        m.dense(i, gate=False)
    return m.done()


def llama_70b():
    return llama(80, 8, 1)


def nanbeige(layers=8):
    """Runs through its layers twice, so that llama.cpp counts twice as many."""
    m = Builder("nanbeige", layers, 256, 4, 2, 512, num_loops=2, **RMS)
    m.embedding()
    for i in range(layers):
        m.attention(i)
        m.dense(i)
    return m.done()


def bailingmoe3(layers=9):
    """Of its stacks not all are experts."""
    m = Builder("bailingmoe3", layers, 256, 8, 8, 256, expert_count=8, expert_used_count=2, expert_shared_count=1,
                expert_feed_forward_length=256, attention__key_length_mla=64, attention__value_length_mla=64,
                attention__kv_lora_rank=128, attention__q_lora_rank=128, ssm__conv_kernel=4, kda__head_dim=32,
                kda__safe_gate=True, kda__gate_lower_bound=-5.0, leading_dense_block_count=1, expert_gating_func=2,
                **RMS)
    m.embedding()
    for i in range(layers):
        b = "blk.%d." % i
        m.add(b + "attn_q.weight", 256, 256)
        m.add(b + "attn_k_b.weight", 8, 128, 32)
        m.add(b + "attn_v_b.weight", 8, 32, 128)
        m.add(b + "ssm_conv1d_q.weight", 256, 4)
        m.add(b + "attn_output.weight", 256, 256)
        m.dense(i) if i == 0 else m.experts(i, 8, shared=True)
    return m.done()


def glm5_next(layers=8):
    m = Builder("glm5-next", layers, 256, 8, 8, 256, expert_count=4, expert_used_count=2, expert_shared_count=1,
                expert_feed_forward_length=256, attention__key_length_mla=64, attention__value_length_mla=64,
                attention__kv_lora_rank=128, attention__q_lora_rank=128, ssm__conv_kernel=4, kda__head_dim=32,
                kda__safe_gate=True, kda__gate_lower_bound=-5.0, leading_dense_block_count=1, expert_gating_func=2,
                **{"attention__indexer__head_count": 4, "attention__indexer__key_length": 64,
                   "attention__indexer__top_k": 64, "attention__indexer__kpool": 4,
                   "hyper_connection__count": 4, "hyper_connection__sinkhorn_iterations": 20,
                   "hyper_connection__epsilon": 1e-6, **RMS})
    m.embedding()
    for i in range(layers):
        b = "blk.%d." % i
        m.add(b + "attn_q_a.weight", 128, 256)
        m.add(b + "attn_q_b.weight", 512, 128)
        m.add(b + "attn_kv_a_mqa.weight", 160, 256)
        m.add(b + "attn_k_b.weight", 8, 128, 32)
        m.add(b + "attn_v_b.weight", 8, 32, 128)
        m.add(b + "indexer.attn_q_b.weight", 256, 128)
        m.add(b + "indexer.proj.weight", 4, 256)
        m.add(b + "hc_attn_fn.weight", 24, 256)
        m.add(b + "ssm_beta.weight", 8, 256)
        m.add(b + "attn_output.weight", 256, 256)
        m.dense(i) if i == 0 else m.experts(i, 4, shared=True)
    m.add("blk.%d.nextn.eh_proj.weight" % (layers - 1), 256, 512)
    return m.done()


MODELS = {f.__name__: f for f in (llama, mixtral, qwen3, qwen3moe, gemma3, gemma3n, phi3, bert, deepseek2, falcon,
                                  llama_70b, nanbeige, bailingmoe3, glm5_next)}
PRESETS = ["Q1_0", "Q2_0", "Q4_0", "Q4_1", "MXFP4_MOE", "Q5_0", "Q5_1", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S",
           "IQ1_M", "TQ1_0", "TQ2_0", "Q2_K", "Q2_K_S", "IQ3_XXS", "IQ3_S", "IQ3_M", "IQ3_XS", "Q3_K_S", "Q3_K_M",
           "Q3_K_L", "IQ4_NL", "IQ4_XS", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16", "F32"]
