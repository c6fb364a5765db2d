# Writes SOURCE, a C file that defines NAME, a qdq_cuda_image of the bytes of CODE.
file(READ ${CODE} bytes HEX)
string(REGEX REPLACE "(................................................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${SOURCE} "#include \"backends/cuda/images.h\"
static _Alignas(16) const unsigned char code[] = {
${bytes}};
const qdq_cuda_image ${NAME} = {code};
")
