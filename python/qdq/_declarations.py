"""Made from include/qdq.h by declarations.py; not to be edited."""

# fmt: off
# ruff: noqa
from ctypes import POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

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
QDQ_F32 = 0
QDQ_F16 = 1
QDQ_BF16 = 2
QDQ_U8 = 3


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


class qdq_error_stats(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("rmse", c_double),
        ("relative_rmse", c_double),
        ("max_abs", c_double),
        ("snr_db", c_double),
        ("cosine", c_double),
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
    ]


class qdq_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("importance", c_void_p),
        ("row", c_uint64),
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
    "qdq_device_open_threads": (c_int, (c_char_p, c_int, POINTER(c_void_p),)),
    "qdq_device_open_stream": (c_int, (c_char_p, c_void_p, POINTER(c_void_p),)),
    "qdq_device_close": (None, (c_void_p,)),
    "qdq_device_describe": (c_int, (c_void_p, POINTER(qdq_device_info),)),
    "qdq_device_list": (c_int, (c_uint32, POINTER(qdq_device_info),)),
    "qdq_cpu_mask": (c_uint32, (c_uint32,)),
    "qdq_cpu_tier": (c_char_p, ()),
    "qdq_buffer_create": (c_int, (c_void_p, c_int, c_uint32, c_void_p, POINTER(c_void_p),)),
    "qdq_buffer_wrap": (c_int, (c_void_p, c_int, c_uint32, c_void_p, c_void_p, c_uint64, POINTER(c_void_p),)),
    "qdq_buffer_slice": (c_int, (c_void_p, c_uint64, c_uint64, POINTER(c_void_p),)),
    "qdq_buffer_free": (None, (c_void_p,)),
    "qdq_buffer_dtype": (c_int, (c_void_p,)),
    "qdq_buffer_count": (c_uint64, (c_void_p,)),
    "qdq_buffer_bytes": (c_uint64, (c_void_p,)),
    "qdq_buffer_host": (c_void_p, (c_void_p,)),
    "qdq_buffer_write": (c_int, (c_void_p, c_uint64, c_void_p, c_uint64,)),
    "qdq_buffer_read": (c_int, (c_void_p, c_uint64, c_void_p, c_uint64,)),
    "qdq_encoder_create": (c_int, (c_void_p, POINTER(c_void_p),)),
    "qdq_encoder_free": (None, (c_void_p,)),
    "qdq_encoder_commit": (c_int, (c_void_p,)),
    "qdq_encoder_wait": (c_int, (c_void_p,)),
    "qdq_encoder_commit_and_wait": (c_int, (c_void_p,)),
    "qdq_encode_roundtrip": (c_int, (c_void_p, c_int32, c_void_p, c_void_p, POINTER(qdq_options),)),
    "qdq_encode_quantize": (c_int, (c_void_p, c_int32, c_void_p, c_void_p, POINTER(qdq_options),)),
    "qdq_encode_dequantize": (c_int, (c_void_p, c_int32, c_void_p, c_void_p,)),
    "qdq_encode_error": (c_int, (c_void_p, c_uint32, c_void_p, c_void_p, POINTER(qdq_error_sums), POINTER(qdq_options),)),
    "qdq_encode_sensitivity": (c_int, (c_void_p, c_int32, c_int32, c_void_p, c_void_p, POINTER(qdq_sensitivity_sums), POINTER(qdq_options),)),
    "qdq_device_build_kernel": (c_int, (c_void_p, c_char_p,)),
}
