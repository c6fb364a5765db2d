"""Made from include/qdq.h and include/qdq_model.h by declarations.py; not to be edited."""

# fmt: off
# ruff: noqa
from ctypes import CFUNCTYPE, POINTER, Structure, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_uint8, c_void_p

QDQ_VERSION_MAJOR = 0
QDQ_VERSION_MINOR = 1
QDQ_VERSION_PATCH = 0
QDQ_FORMAT_NONE = -1
QDQ_FORMAT_SOURCE = -2
QDQ_TILE = 1024
QDQ_OK = 0
QDQ_INVALID_ARGUMENT = 1
QDQ_UNSUPPORTED = 2
QDQ_OUT_OF_MEMORY = 3
QDQ_DEVICE_ERROR = 4
QDQ_IO_ERROR = 5
QDQ_BAD_DATA = 6
QDQ_CANCELLED = 7
QDQ_F32 = 0
QDQ_F16 = 1
QDQ_BF16 = 2
QDQ_U8 = 3
QDQ_IMPORTANCE_UNUSED = 0
QDQ_IMPORTANCE_USED = 1
QDQ_IMPORTANCE_NEEDED = 2
QDQ_OPERATION_ROUNDTRIP = 0
QDQ_OPERATION_QUANTIZE = 1
QDQ_OPERATION_DEQUANTIZE = 2
QDQ_OPERATION_ERROR = 3
QDQ_OPERATION_SENSITIVITY = 4
QDQ_PROOF_OPERATION = 0
QDQ_PROOF_PACKING = 1
QDQ_PROOF_DECODING = 2
QDQ_PROOF_SUMS = 3
QDQ_GGML_FUSION_UNKNOWN = 0
QDQ_GGML_FUSION_NONE = 1
QDQ_GGML_FUSION_FUSED = 2
QDQ_MAX_FORMATS = 64
QDQ_ADVICE_NONE = 0
QDQ_ADVICE_ALLOW_NON_FINITE = 1
QDQ_ADVICE_IMATRIX = 2
QDQ_ADVICE_NAMES = 3
QDQ_ADVICE_MAP = 4
QDQ_ADVICE_HF = 5
QDQ_ADVICE_EXCEPTION = 6
QDQ_ADVICE_WEIGHTS = 7
QDQ_ADVICE_REQUANTIZE = 8
QDQ_ADVICE_OTHER_WEIGHTS = 9
QDQ_ADVICE_LIKE = 10
QDQ_LIST_FLOATS = 1
QDQ_LIST_WEIGHTED = 2
QDQ_LAYOUT_SAFETENSORS = 0
QDQ_LAYOUT_GGUF = 1
QDQ_LIKE_COPIED = 0
QDQ_LIKE_UNUSED = 1
QDQ_KV_U8 = 0
QDQ_KV_I8 = 1
QDQ_KV_U16 = 2
QDQ_KV_I16 = 3
QDQ_KV_U32 = 4
QDQ_KV_I32 = 5
QDQ_KV_F32 = 6
QDQ_KV_BOOL = 7
QDQ_KV_STRING = 8
QDQ_KV_ARRAY = 9
QDQ_KV_U64 = 10
QDQ_KV_I64 = 11
QDQ_KV_F64 = 12
QDQ_IMATRIX_GGUF = 0
QDQ_IMATRIX_DAT = 1
QDQ_FIT_TAKEN = 0
QDQ_FIT_TYPE = 1
QDQ_FIT_NOT_INCLUDED = 2
QDQ_FIT_EXCLUDED = 3
QDQ_FIT_DIMENSIONS = 4
QDQ_FIT_EMPTY = 5
QDQ_FIT_ROW = 6
QDQ_FIT_NO_IMPORTANCE = 7
QDQ_FIT_RULE = 8
QDQ_MOVED_NONE = 0
QDQ_MOVED_QUERIES = 1
QDQ_MOVED_KEYS = 2
QDQ_LATTICES = 16
QDQ_SCORE_AUTO = 0
QDQ_SCORE_ERROR = 1
QDQ_SCORE_RELATIVE = 2
QDQ_SCORE_SIZED = 3
QDQ_SCORE_SIGNED = 4
QDQ_SCORE_ABSOLUTE = 5
QDQ_SCORE_SQUARED = 6
QDQ_SCORE_KINDS = 7
QDQ_COST_SIZE = 0
QDQ_COST_TOKEN = 1
QDQ_PLAN_PIN = 0
QDQ_PLAN_SAME = 1
QDQ_PLAN_MINIMUM = 2
QDQ_PLAN_ALLOW = 3


class qdq_format_info(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("ggml_type", c_uint32),
        ("block_elements", c_uint32),
        ("block_bytes", c_uint32),
        ("importance", c_uint32),
        ("ggml_file_type", c_uint32),
    ]


class qdq_error_sums(Structure):
    _fields_ = [
        ("err2", c_double),
        ("ww", c_double),
        ("qq", c_double),
        ("max_abs", c_float),
        ("unused", c_uint32),
        ("count", c_uint64),
    ]


class qdq_sensitivity_sums(Structure):
    _fields_ = [
        ("signed_sum", c_double),
        ("absolute", c_double),
        ("squared", c_double),
        ("count", c_uint64),
    ]


class qdq_error_totals(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("sums", qdq_error_sums),
        ("tiles", c_uint64),
        ("non_finite_tiles", c_uint64),
        ("worst_tile", c_uint64),
        ("worst_err2", c_double),
    ]


class qdq_error_stats(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("rmse", c_double),
        ("relative_rmse", c_double),
        ("max_abs", c_double),
        ("snr_db", c_double),
        ("cosine", c_double),
    ]


class qdq_device_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("threads", c_int32),
        ("on_stream", c_uint32),
        ("stream", c_void_p),
        ("reference", c_char_p),
    ]


class qdq_device_info(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char * 32),
        ("description", c_char * 128),
        ("driver", c_char * 128),
        ("memory", c_uint64),
        ("shared", c_uint32),
        ("available", c_uint32),
        ("reference", c_char * 16),
    ]


class qdq_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("importance", c_void_p),
        ("row", c_uint64),
    ]


class qdq_dispatch(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("operation", c_int),
        ("format", c_int32),
        ("input_dtype", c_int),
        ("output_dtype", c_int),
        ("input", c_void_p),
        ("output", c_void_p),
        ("elements", c_uint64),
        ("row", c_uint64),
        ("importance", c_void_p),
        ("stream", c_void_p),
        ("submit", c_uint32),
    ]


class qdq_proof(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("kind", c_int),
        ("format", c_int32),
        ("inputs", c_char_p),
        ("against", c_char_p),
        ("passed_over", c_char_p),
        ("weighted", c_uint32),
        ("compared", c_uint64),
        ("elements", c_uint64),
        ("differing", c_uint64),
        ("undefined", c_uint64),
        ("undefined_differing", c_uint64),
        ("undefined_failure", c_char_p),
        ("difference", c_char_p),
        ("block", c_uint64),
        ("block_elements", c_uint32),
        ("block_bytes", c_uint32),
        ("input", POINTER(c_float)),
        ("values", POINTER(c_float)),
        ("expected_values", POINTER(c_float)),
        ("packed", POINTER(c_uint8)),
        ("expected_packed", POINTER(c_uint8)),
    ]


class qdq_codec(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("context", c_void_p),
        ("quantize", CFUNCTYPE(c_int, c_void_p, c_int32, c_void_p, c_uint64, c_void_p, c_uint64, c_void_p)),
        ("dequantize", CFUNCTYPE(c_int, c_void_p, c_int32, c_void_p, c_uint64, c_void_p)),
    ]


class qdq_proof_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("device", c_char_p),
        ("codec", POINTER(qdq_codec)),
        ("formats", POINTER(c_int32)),
        ("n_formats", c_uint32),
        ("threads", c_int32),
        ("full", c_uint32),
        ("seconds", c_double),
        ("seed", c_uint64),
        ("elements", c_uint64),
        ("proved", CFUNCTYPE(c_int, c_void_p, POINTER(qdq_proof))),
        ("progress", CFUNCTYPE(c_bool, c_void_p, c_char_p, c_uint64, c_uint64)),
        ("context", c_void_p),
    ]


class qdq_proof_report(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("proofs", c_uint64),
        ("failed", c_uint64),
        ("passed_over", c_uint64),
        ("blocks", c_uint64),
    ]


class qdq_ggml_info(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("revision", c_char_p),
        ("fusion", c_int),
    ]


class qdq_timing(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("operation", c_int),
        ("format", c_int32),
        ("high", c_int32),
        ("importance", c_uint32),
        ("elements", c_uint64),
        ("bytes", c_double),
        ("seconds", c_double),
        ("ggml", c_double),
    ]


class qdq_timing_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("device", c_char_p),
        ("threads", c_int32),
        ("dtype", c_int),
        ("elements", c_uint64),
        ("seconds", c_double),
        ("ggml", c_char_p),
    ]


class qdq_copy_timing(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("bytes", c_double),
        ("seconds", c_double),
        ("plain", c_double),
        ("streaming", c_double),
    ]


class qdq_tensor(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("type_name", c_char_p),
        ("shape", POINTER(c_uint64)),
        ("n_dims", c_uint32),
        ("ggml_type", c_uint32),
        ("source", c_bool),
        ("dtype", c_int),
        ("elements", c_uint64),
        ("bytes", c_uint64),
        ("data", c_void_p),
        ("path", c_char_p),
        ("offset", c_uint64),
        ("decoding", c_void_p),
        ("first", c_uint64),
    ]


class qdq_decode_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("via", c_char_p),
        ("requantize", c_bool),
        ("keep_codes", c_bool),
    ]


class qdq_like_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("map", c_char_p),
        ("other_weights", c_bool),
        ("told", CFUNCTYPE(c_int, c_void_p, c_int, c_char_p)),
        ("context", c_void_p),
    ]


class qdq_like_report(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("taken", c_uint64),
        ("verified", c_uint64),
        ("moved", c_uint64),
        ("copied", c_uint64),
        ("unused", c_uint64),
    ]


class qdq_kv(Structure):
    _fields_ = [
        ("key", c_char_p),
        ("value", POINTER(c_uint8)),
        ("bytes", c_uint64),
        ("type", c_uint32),
    ]


class qdq_imatrix_statistics(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("columns", c_uint64),
        ("matrices", c_uint64),
        ("unreached", c_uint64),
        ("least_count", c_double),
        ("most_count", c_double),
        ("sum", c_double),
        ("mean", c_double),
        ("deviation", c_double),
        ("least", c_double),
        ("most", c_double),
        ("active", c_double),
        ("entropy", c_double),
    ]


class qdq_imatrix_write_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("layout", c_int),
        ("chunk_size", c_uint32),
    ]


class qdq_imatrix_report(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("entries", c_uint64),
        ("partial", c_uint64),
        ("dropped", c_uint64),
        ("chunks", c_uint32),
        ("chunk_size", c_uint32),
    ]


class qdq_selection_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("include", POINTER(c_char_p)),
        ("exclude", POINTER(c_char_p)),
        ("n_include", c_uint32),
        ("n_exclude", c_uint32),
        ("imatrix", c_void_p),
        ("architecture", c_char_p),
        ("map", c_char_p),
    ]


class qdq_fit(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("reason", c_int),
        ("block", c_uint32),
        ("weighted", c_bool),
        ("text", c_char * 256),
    ]


class qdq_pass_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("threads", c_int),
        ("allow_non_finite", c_bool),
        ("progress", CFUNCTYPE(c_bool, c_void_p, c_uint64, c_uint64)),
        ("context", c_void_p),
    ]


qdq_sink = CFUNCTYPE(c_int, c_void_p, c_void_p, c_uint64)


class qdq_shared_sums(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("folder", c_char_p),
        ("part", c_uint32),
        ("parts", c_uint32),
        ("measured", c_uint64),
        ("known", c_uint64),
        ("missing", c_uint64),
        ("next_part", CFUNCTYPE(c_uint32, c_void_p)),
        ("context", c_void_p),
    ]


class qdq_lattice_counts(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("lattice", c_uint32),
        ("groups", c_uint64 * 16),
        ("on", c_uint64 * 16),
    ]


class qdq_gradients_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("hf", c_char_p),
    ]


class qdq_choice(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("format", c_int32),
        ("reason", c_int),
        ("exception", c_bool),
        ("already", c_bool),
        ("lacks_importance", c_bool),
        ("text", c_char * 256),
        ("keeps_codes", c_bool),
    ]


qdq_chooser = CFUNCTYPE(c_int, c_void_p, c_uint64, POINTER(qdq_choice))


class qdq_uniform(Structure):
    _fields_ = [
        ("selection", c_void_p),
        ("format", c_int32),
    ]


class qdq_llama_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("format", c_int32),
        ("preset", c_char_p),
        ("pure", c_bool),
        ("leave_output", c_bool),
        ("output_type", c_char_p),
        ("embedding_type", c_char_p),
        ("rules", c_char_p),
        ("prune", POINTER(c_uint32)),
        ("n_prune", c_uint32),
        ("n_overrides", c_uint32),
        ("overrides", POINTER(c_char_p)),
        ("keep_split", c_bool),
    ]


class qdq_llama_chooser(Structure):
    _fields_ = [
        ("llama", c_void_p),
        ("selection", c_void_p),
    ]


class qdq_file_report(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("bytes", c_uint64),
        ("tensors", c_uint64),
        ("elements", c_uint64),
        ("source_bytes", c_uint64),
        ("weight_bytes", c_uint64),
        ("made", c_uint64),
        ("weighted", c_uint64),
        ("exceptions", c_uint64),
        ("already", c_uint64),
        ("lacking", c_uint64),
        ("kept", c_uint64),
        ("part_bytes", c_uint64),
        ("part_made", c_uint64),
    ]


class qdq_file_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("file_type", POINTER(c_uint32)),
        ("source_dtype", c_bool),
        ("decided", CFUNCTYPE(c_int, c_void_p, c_uint64, c_char_p, POINTER(qdq_choice), c_char_p)),
        ("ready", CFUNCTYPE(c_int, c_void_p, POINTER(qdq_file_report))),
        ("context", c_void_p),
        ("part", c_uint32),
        ("parts", c_uint32),
        ("resume", c_bool),
        ("next_part", CFUNCTYPE(c_uint32, c_void_p)),
        ("keep_codes", c_bool),
    ]


class qdq_join_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("from", POINTER(c_char_p)),
        ("n_from", c_uint32),
        ("progress", CFUNCTYPE(c_bool, c_void_p, c_uint64, c_uint64)),
        ("context", c_void_p),
    ]


class qdq_join_report(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("bytes", c_uint64),
        ("copied", c_uint64),
        ("files", c_uint32),
    ]


class qdq_beside_kind(Structure):
    _fields_ = [
        ("kind", c_char * 64),
        ("tensors", c_uint64),
        ("elements", c_uint64),
        ("bytes", c_uint64),
        ("published_bytes", c_uint64),
        ("damage", c_double),
        ("published_damage", c_double),
    ]


class qdq_plan_choice(Structure):
    _fields_ = [
        ("format", c_char_p),
        ("bytes", c_uint64),
        ("damage", c_double),
        ("token_bytes", c_uint64),
    ]


class qdq_plan_tensor(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("dtype", c_char_p),
        ("gguf", c_char_p),
        ("group", c_char_p),
        ("reason", c_char_p),
        ("shape", POINTER(c_uint64)),
        ("n_dims", c_uint32),
        ("elements", c_uint64),
        ("choices", POINTER(qdq_plan_choice)),
        ("n_choices", c_uint32),
        ("chosen", c_uint32),
        ("bytes", c_uint64),
        ("token_bytes", c_uint64),
    ]


class qdq_plan_baseline(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("preset", c_bool),
        ("allowed", c_bool),
        ("bytes", c_uint64),
        ("token_bytes", c_uint64),
        ("damage", c_double),
        ("plan_damage", c_double),
        ("formats", POINTER(c_char_p)),
        ("n_formats", c_uint64),
    ]


class qdq_plan_info(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("model", c_char_p),
        ("score", c_char_p),
        ("target", c_char_p),
        ("imatrix", c_char_p),
        ("budget", c_uint64),
        ("bytes", c_uint64),
        ("floor", c_uint64),
        ("ceiling", c_uint64),
        ("overhead", c_uint64),
        ("elements", c_uint64),
        ("damage", c_double),
        ("lower_bound", c_double),
        ("proven", c_bool),
        ("n_tensors", c_uint64),
        ("forecast", c_char_p),
        ("kl", c_double),
        ("kl_least", c_double),
        ("kl_most", c_double),
        ("cost", c_char_p),
        ("token_bytes", c_uint64),
        ("reference", c_char_p),
        ("caution", c_double),
        ("yardstick", c_char_p),
        ("slow", c_char_p),
        ("rules", c_char_p),
    ]


class qdq_plan_chooser(Structure):
    _fields_ = [
        ("plan", c_void_p),
        ("selection", c_void_p),
    ]


class qdq_planner_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("formats", c_char_p),
        ("score", c_int),
        ("gradients", c_void_p),
        ("scores", c_char_p),
        ("for_llama_quantize", c_bool),
        ("keep_codes", c_bool),
        ("cost", c_int),
        ("slow", c_char_p),
        ("rules", c_char_p),
    ]


class qdq_given_sums(Structure):
    _fields_ = [
        ("tensor", c_char_p),
        ("format", c_int32),
        ("sums", qdq_sensitivity_sums),
    ]


# What a function gives, and what it takes.
FUNCTIONS = {
    "qdq_version": (c_char_p, ()),
    "qdq_status_name": (c_char_p, (c_int,)),
    "qdq_error_message": (c_char_p, ()),
    "qdq_dtype_name": (c_char_p, (c_int,)),
    "qdq_dtype_size": (c_size_t, (c_int,)),
    "qdq_format_count": (c_int32, ()),
    "qdq_format_by_name": (c_int32, (c_char_p,)),
    "qdq_format_by_ggml_type": (c_int32, (c_uint32,)),
    "qdq_format_describe": (c_int, (c_int32, POINTER(qdq_format_info),)),
    "qdq_format_bytes": (c_uint64, (c_int32, c_uint64,)),
    "qdq_error_statistics": (c_int, (POINTER(qdq_error_sums), POINTER(qdq_error_stats),)),
    "qdq_roundtrip": (c_int, (c_int32, c_void_p, c_void_p, c_uint64,)),
    "qdq_quantize": (c_int, (c_int32, c_void_p, c_void_p, c_uint64,)),
    "qdq_dequantize": (c_int, (c_int32, c_void_p, c_void_p, c_uint64,)),
    "qdq_error": (c_int, (c_int32, c_void_p, c_uint64, POINTER(qdq_error_sums),)),
    "qdq_sensitivity": (c_int, (c_int32, c_int32, c_void_p, c_void_p, c_uint64, POINTER(qdq_sensitivity_sums),)),
    "qdq_device_open": (c_int, (c_char_p, POINTER(c_void_p),)),
    "qdq_device_open_with": (c_int, (c_char_p, POINTER(qdq_device_options), POINTER(c_void_p),)),
    "qdq_device_open_threads": (c_int, (c_char_p, c_int, POINTER(c_void_p),)),
    "qdq_device_open_stream": (c_int, (c_char_p, c_void_p, POINTER(c_void_p),)),
    "qdq_device_synchronize": (c_int, (c_void_p,)),
    "qdq_device_close": (None, (c_void_p,)),
    "qdq_device_describe": (c_int, (c_void_p, POINTER(qdq_device_info),)),
    "qdq_device_list": (c_int, (c_uint32, POINTER(qdq_device_info),)),
    "qdq_cpu_mask": (c_uint32, (c_uint32,)),
    "qdq_cpu_mask_in_force": (c_uint32, ()),
    "qdq_cpu_tier": (c_char_p, ()),
    "qdq_buffer_create": (c_int, (c_void_p, c_int, c_uint32, c_void_p, POINTER(c_void_p),)),
    "qdq_buffer_wrap": (c_int, (c_void_p, c_int, c_uint32, c_void_p, c_void_p, c_uint64, POINTER(c_void_p),)),
    "qdq_buffer_wrap_const": (c_int, (c_void_p, c_int, c_uint32, c_void_p, c_void_p, c_uint64, POINTER(c_void_p),)),
    "qdq_buffer_on_release": (c_int, (c_void_p, CFUNCTYPE(None, c_void_p), c_void_p,)),
    "qdq_buffer_slice": (c_int, (c_void_p, c_uint64, c_uint64, POINTER(c_void_p),)),
    "qdq_buffer_rows": (c_int, (c_void_p, c_uint64, c_uint64, c_uint64, c_uint64, POINTER(c_void_p),)),
    "qdq_buffer_free": (None, (c_void_p,)),
    "qdq_buffer_dtype": (c_int, (c_void_p,)),
    "qdq_buffer_count": (c_uint64, (c_void_p,)),
    "qdq_buffer_bytes": (c_uint64, (c_void_p,)),
    "qdq_buffer_host": (c_void_p, (c_void_p,)),
    "qdq_buffer_write": (c_int, (c_void_p, c_uint64, c_void_p, c_uint64,)),
    "qdq_buffer_read": (c_int, (c_void_p, c_uint64, c_void_p, c_uint64,)),
    "qdq_encoder_create": (c_int, (c_void_p, POINTER(c_void_p),)),
    "qdq_encoder_create_on": (c_int, (c_void_p, c_void_p, POINTER(c_void_p),)),
    "qdq_encoder_free": (None, (c_void_p,)),
    "qdq_encoder_commit": (c_int, (c_void_p,)),
    "qdq_encoder_wait": (c_int, (c_void_p,)),
    "qdq_encoder_commit_and_wait": (c_int, (c_void_p,)),
    "qdq_encoders_wait": (c_int, (c_uint32, POINTER(c_void_p),)),
    "qdq_encoder_submit": (c_int, (c_void_p,)),
    "qdq_encode_roundtrip": (c_int, (c_void_p, c_int32, c_void_p, c_void_p, POINTER(qdq_options),)),
    "qdq_encode_quantize": (c_int, (c_void_p, c_int32, c_void_p, c_void_p, POINTER(qdq_options),)),
    "qdq_encode_dequantize": (c_int, (c_void_p, c_int32, c_void_p, c_void_p,)),
    "qdq_encode_error": (c_int, (c_void_p, c_uint32, c_void_p, c_void_p, POINTER(qdq_error_sums), POINTER(qdq_options),)),
    "qdq_encode_errors": (c_int, (c_void_p, c_uint32, c_void_p, c_void_p, POINTER(qdq_error_totals), POINTER(qdq_options),)),
    "qdq_encode_sensitivity": (c_int, (c_void_p, c_int32, c_int32, c_void_p, c_void_p, POINTER(qdq_sensitivity_sums), POINTER(qdq_options),)),
    "qdq_encode_sensitivities": (c_int, (c_void_p, c_uint32, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(qdq_sensitivity_sums), POINTER(qdq_options),)),
    "qdq_device_dispatch": (c_int, (c_void_p, POINTER(qdq_dispatch),)),
    "qdq_device_build_kernel": (c_int, (c_void_p, c_char_p,)),
    "qdq_prove": (c_int, (POINTER(qdq_proof_options), POINTER(qdq_proof_report),)),
    "qdq_ggml_describe": (c_int, (c_char_p, POINTER(qdq_ggml_info),)),
    "qdq_prove_ggml": (c_int, (c_char_p, POINTER(qdq_proof_options), POINTER(qdq_proof_report),)),
    "qdq_time": (c_int, (POINTER(qdq_timing_options), c_uint32, POINTER(qdq_timing), POINTER(qdq_copy_timing),)),
    "qdq_error_advice": (c_int, ()),
    "qdq_free": (None, (c_void_p,)),
    "qdq_printable": (c_char_p, (c_char_p, c_void_p, c_size_t,)),
    "qdq_disturbance": (c_size_t, (c_char_p,)),
    "qdq_parse_formats": (c_int, (c_char_p, c_void_p, c_void_p,)),
    "qdq_list_formats": (c_int, (c_char_p, c_uint32, c_void_p, c_void_p,)),
    "qdq_model_open": (c_int, (c_char_p, POINTER(c_void_p),)),
    "qdq_model_parse": (c_int, (c_int, c_void_p, c_uint64, c_char_p, POINTER(c_void_p),)),
    "qdq_model_close": (None, (c_void_p,)),
    "qdq_model_layout": (c_int, (c_void_p,)),
    "qdq_model_path": (c_char_p, (c_void_p,)),
    "qdq_model_file_count": (c_uint64, (c_void_p,)),
    "qdq_model_tensor_count": (c_uint64, (c_void_p,)),
    "qdq_model_tensor": (POINTER(qdq_tensor), (c_void_p, c_uint64,)),
    "qdq_model_find": (POINTER(qdq_tensor), (c_void_p, c_char_p,)),
    "qdq_tensor_not_source": (c_char_p, (POINTER(qdq_tensor),)),
    "qdq_model_decode": (c_int, (c_void_p, POINTER(qdq_decode_options),)),
    "qdq_model_decoded": (c_char_p, (c_void_p, c_uint64, c_void_p, c_void_p,)),
    "qdq_tensor_read": (c_int, (POINTER(qdq_tensor), c_uint64, c_uint64, c_void_p,)),
    "qdq_model_open_like": (c_int, (c_char_p, c_void_p, POINTER(qdq_like_options), POINTER(qdq_like_report), POINTER(c_void_p),)),
    "qdq_extents_text": (c_char_p, (POINTER(qdq_tensor), c_void_p,)),
    "qdq_model_kv_count": (c_uint64, (c_void_p,)),
    "qdq_model_kv": (POINTER(qdq_kv), (c_void_p, c_uint64,)),
    "qdq_model_find_kv": (POINTER(qdq_kv), (c_void_p, c_char_p,)),
    "qdq_kv_u64": (c_bool, (POINTER(qdq_kv), c_void_p,)),
    "qdq_kv_string": (c_bool, (POINTER(qdq_kv), POINTER(c_char_p), c_void_p,)),
    "qdq_kv_array": (c_bool, (POINTER(qdq_kv), c_void_p, c_void_p, POINTER(POINTER(c_uint8)),)),
    "qdq_kv_array_string": (c_bool, (POINTER(qdq_kv), c_uint64, POINTER(c_char_p), c_void_p,)),
    "qdq_imatrix_open": (c_int, (c_char_p, POINTER(c_void_p),)),
    "qdq_imatrix_parse": (c_int, (c_void_p, c_uint64, c_char_p, POINTER(c_void_p),)),
    "qdq_imatrix_close": (None, (c_void_p,)),
    "qdq_imatrix_filter": (c_int, (c_void_p, POINTER(c_char_p), c_size_t, POINTER(c_char_p), c_size_t,)),
    "qdq_imatrix_path": (c_char_p, (c_void_p,)),
    "qdq_imatrix_count": (c_uint64, (c_void_p,)),
    "qdq_imatrix_entry_at": (c_void_p, (c_void_p, c_uint64,)),
    "qdq_imatrix_find": (c_void_p, (c_void_p, c_char_p,)),
    "qdq_imatrix_entry_name": (c_char_p, (c_void_p,)),
    "qdq_imatrix_entry_weights": (c_uint64, (c_void_p,)),
    "qdq_imatrix_weights": (None, (c_void_p, c_uint64, c_uint64, c_void_p,)),
    "qdq_imatrix_dataset": (c_char_p, (c_void_p,)),
    "qdq_imatrix_dataset_at": (c_char_p, (c_void_p, c_uint64,)),
    "qdq_imatrix_chunks": (c_uint32, (c_void_p,)),
    "qdq_imatrix_chunk_size": (c_uint32, (c_void_p,)),
    "qdq_imatrix_entry_describe": (c_int, (c_void_p, POINTER(qdq_imatrix_statistics),)),
    "qdq_imatrix_layout_of": (c_int, (c_void_p,)),
    "qdq_imatrix_write": (c_int, (c_uint32, POINTER(c_void_p), POINTER(qdq_imatrix_write_options), c_char_p, POINTER(qdq_imatrix_report),)),
    "qdq_selection_create": (c_int, (c_void_p, POINTER(qdq_selection_options), POINTER(c_void_p),)),
    "qdq_selection_free": (None, (c_void_p,)),
    "qdq_selection_model": (c_void_p, (c_void_p,)),
    "qdq_check_pattern": (c_int, (c_char_p,)),
    "qdq_selection_fit": (c_int, (c_void_p, c_uint64, c_int32, POINTER(qdq_fit),)),
    "qdq_selection_importance": (c_int, (c_void_p, c_uint64, POINTER(c_void_p),)),
    "qdq_selection_gguf_name": (c_int, (c_void_p, c_uint64, c_void_p, c_void_p,)),
    "qdq_selection_moved_rows": (c_int, (c_void_p, c_uint64, c_void_p,)),
    "qdq_devices_open": (c_int, (c_char_p, c_int, c_uint32, POINTER(c_void_p), c_void_p,)),
    "qdq_pass_create": (c_int, (c_uint32, POINTER(c_void_p), POINTER(qdq_pass_options), POINTER(c_void_p),)),
    "qdq_pass_free": (None, (c_void_p,)),
    "qdq_pass_expect": (None, (c_void_p, c_uint64,)),
    "qdq_pass_error": (c_int, (c_void_p, c_void_p, c_uint64, c_uint32, c_void_p, POINTER(qdq_error_sums),)),
    "qdq_pass_roundtrip": (c_int, (c_void_p, c_void_p, c_uint64, c_int32, qdq_sink, c_void_p,)),
    "qdq_pass_quantize": (c_int, (c_void_p, c_void_p, c_uint64, c_int32, qdq_sink, c_void_p,)),
    "qdq_pass_flush": (c_int, (c_void_p,)),
    "qdq_errors_create": (c_int, (c_void_p, c_uint32, c_void_p, POINTER(c_void_p),)),
    "qdq_errors_free": (None, (c_void_p,)),
    "qdq_errors_measure": (c_int, (c_void_p, c_void_p,)),
    "qdq_errors_measure_shared": (c_int, (c_void_p, c_void_p, POINTER(qdq_shared_sums),)),
    "qdq_errors_find": (c_bool, (c_void_p, c_uint64, c_uint32, c_void_p, POINTER(POINTER(qdq_error_sums)),)),
    "qdq_errors_weighted": (c_bool, (c_void_p, c_uint64,)),
    "qdq_errors_total": (c_int, (c_void_p, c_uint32, c_bool, POINTER(qdq_error_sums), c_void_p,)),
    "qdq_lattice_name": (c_char_p, (c_uint32, POINTER(c_char_p), c_void_p,)),
    "qdq_pass_lattice": (c_int, (c_void_p, c_void_p, c_uint64, POINTER(qdq_lattice_counts),)),
    "qdq_gradients_open": (c_int, (c_char_p, c_void_p, POINTER(qdq_gradients_options), POINTER(c_void_p),)),
    "qdq_gradients_close": (None, (c_void_p,)),
    "qdq_gradients_model": (c_void_p, (c_void_p,)),
    "qdq_gradients_find": (c_int, (c_void_p, c_uint64, c_void_p,)),
    "qdq_pass_sensitivity": (c_int, (c_void_p, c_void_p, c_uint64, c_void_p, c_uint32, c_void_p, c_int32, POINTER(qdq_sensitivity_sums),)),
    "qdq_pass_sensitivities": (c_int, (c_void_p, c_void_p, c_void_p, c_uint64, c_void_p, c_int32, c_int32, POINTER(qdq_sensitivity_sums), POINTER(qdq_shared_sums),)),
    "qdq_uniform_choose": (c_int, (c_void_p, c_uint64, POINTER(qdq_choice),)),
    "qdq_llama_create": (c_int, (POINTER(qdq_llama_options), POINTER(c_void_p),)),
    "qdq_llama_free": (None, (c_void_p,)),
    "qdq_llama_add": (c_int, (c_void_p, c_char_p, c_char_p,)),
    "qdq_llama_add_file": (c_int, (c_void_p, c_char_p,)),
    "qdq_llama_exception": (c_char_p, (c_void_p, c_uint64, c_void_p,)),
    "qdq_llama_describe": (c_char_p, (c_void_p, POINTER(c_char_p),)),
    "qdq_llama_preset": (c_char_p, (c_uint32, POINTER(c_char_p),)),
    "qdq_llama_find_preset": (c_char_p, (c_char_p,)),
    "qdq_llama_fallback": (c_int, (c_int32, c_uint64, c_void_p,)),
    "qdq_llama_needs_importance": (c_bool, (c_int32,)),
    "qdq_llama_choose": (c_int, (c_void_p, c_uint64, POINTER(qdq_choice),)),
    "qdq_quantize_file": (c_int, (c_void_p, c_void_p, c_char_p, qdq_chooser, c_void_p, POINTER(qdq_file_options), POINTER(qdq_file_report),)),
    "qdq_roundtrip_file": (c_int, (c_void_p, c_void_p, c_char_p, qdq_chooser, c_void_p, POINTER(qdq_file_options), POINTER(qdq_file_report),)),
    "qdq_join": (c_int, (c_char_p, POINTER(qdq_join_options), POINTER(qdq_join_report),)),
    "qdq_discard_parts": (c_int, (c_char_p,)),
    "qdq_plan_open": (c_int, (c_char_p, POINTER(c_void_p),)),
    "qdq_plan_parse": (c_int, (c_char_p, c_char_p, c_size_t, POINTER(c_void_p),)),
    "qdq_plan_free": (None, (c_void_p,)),
    "qdq_plan_text": (c_int, (c_void_p, POINTER(c_char_p), c_void_p,)),
    "qdq_plan_write": (c_int, (c_void_p, c_char_p,)),
    "qdq_plan_describe": (c_int, (c_void_p, POINTER(qdq_plan_info),)),
    "qdq_plan_tensor_at": (POINTER(qdq_plan_tensor), (c_void_p, c_uint64,)),
    "qdq_plan_baseline_at": (POINTER(qdq_plan_baseline), (c_void_p, c_uint64,)),
    "qdq_plan_report": (c_int, (c_void_p, c_char_p,)),
    "qdq_plan_choose": (c_int, (c_void_p, c_uint64, POINTER(qdq_choice),)),
    "qdq_plan_check": (c_int, (c_void_p, c_void_p,)),
    "qdq_plan_recipe": (c_int, (c_void_p, c_void_p, c_char_p, POINTER(c_char_p), POINTER(c_char_p),)),
    "qdq_plan_mlx": (c_int, (c_void_p, c_void_p, POINTER(c_char_p),)),
    "qdq_score_name": (c_char_p, (c_int,)),
    "qdq_score_meaning": (c_char_p, (c_int,)),
    "qdq_score_by_name": (c_bool, (c_char_p, c_void_p,)),
    "qdq_score_takes_gradients": (c_bool, (c_int,)),
    "qdq_planner_create": (c_int, (c_void_p, POINTER(qdq_planner_options), POINTER(c_void_p),)),
    "qdq_planner_free": (None, (c_void_p,)),
    "qdq_planner_score": (c_int, (c_void_p,)),
    "qdq_planner_uses_gradients": (c_bool, (c_void_p,)),
    "qdq_scores_write": (c_int, (c_char_p, c_void_p, c_double, c_uint64, POINTER(qdq_given_sums),)),
    "qdq_planner_rule": (c_int, (c_void_p, c_int, c_char_p, c_char_p,)),
    "qdq_planner_beside": (c_int, (c_void_p, c_void_p,)),
    "qdq_planner_compare": (c_int, (c_void_p, POINTER(qdq_beside_kind), c_uint32, c_void_p, POINTER(qdq_beside_kind),)),
    "qdq_planner_measure": (c_int, (c_void_p, c_void_p, c_void_p,)),
    "qdq_planner_measure_shared": (c_int, (c_void_p, c_void_p, POINTER(qdq_shared_sums), c_void_p,)),
    "qdq_planner_add_scores": (c_int, (c_void_p, c_char_p,)),
    "qdq_planner_range": (c_int, (c_void_p, c_void_p, c_void_p, c_void_p,)),
    "qdq_check_target": (c_int, (c_char_p,)),
    "qdq_planner_check": (c_int, (c_void_p, c_char_p,)),
    "qdq_planner_solve": (c_int, (c_void_p, c_char_p, POINTER(c_void_p),)),
    "qdq_out_create": (c_int, (c_char_p, POINTER(c_void_p),)),
    "qdq_out_reserve": (c_int, (c_void_p, c_uint64,)),
    "qdq_out_write": (c_int, (c_void_p, c_void_p, c_uint64,)),
    "qdq_out_write_at": (c_int, (c_void_p, c_uint64, c_void_p, c_uint64,)),
    "qdq_out_commit": (c_int, (c_void_p,)),
    "qdq_out_abort": (None, (c_void_p,)),
    "qdq_out_discards": (c_bool, (c_char_p,)),
    "qdq_out_check": (c_int, (c_void_p,)),
    "qdq_out_abort_all": (None, ()),
    "qdq_mapped_path": (c_char_p, (c_void_p,)),
    "qdq_writer_create": (c_int, (c_int, c_char_p, POINTER(c_void_p),)),
    "qdq_writer_copy_metadata": (c_int, (c_void_p, c_void_p,)),
    "qdq_writer_set_string": (c_int, (c_void_p, c_char_p, c_char_p,)),
    "qdq_writer_set_u32": (c_int, (c_void_p, c_char_p, c_uint32,)),
    "qdq_writer_set": (c_int, (c_void_p, POINTER(qdq_kv),)),
    "qdq_writer_add_tensor": (c_int, (c_void_p, c_char_p, c_char_p, c_uint32, c_void_p,)),
    "qdq_writer_size": (c_int, (c_void_p, c_void_p,)),
    "qdq_writer_tensor_bytes": (c_uint64, (c_void_p, c_uint64,)),
    "qdq_writer_write": (c_int, (c_void_p, c_void_p, c_uint64,)),
    "qdq_writer_finish": (c_int, (c_void_p,)),
    "qdq_writer_abort": (None, (c_void_p,)),
}
