// What dialect/glsl.h declares of shared memory, for kernels whose lanes share nothing.

REAL peer_value(UINT at) { return 0.0f; }
UINT code_value(UINT codes, INT i) { return 0u; }
UINT head_word(UINT heads, INT k, INT j) { return 0u; }
UINT packed_byte(UINT at) { return 0u; }
void put_byte(UINT at, UINT value) {}
