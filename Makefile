# make demo   installs what is missing, builds, and prints the sensitivity of the example's tensors
# make test   likewise, and passes all tests, the core's also under the address sanitizer
# make test-more  and with the thread sanitizer, clang, and as 64-bit Arm
# make        builds into build/
# make format formats the sources

BUILD_PACKAGES = gcc libc6-dev cmake ninja-build pkg-config libjansson-dev libpcre2-dev glslc spirv-tools libvulkan-dev
TEST_PACKAGES = $(BUILD_PACKAGES) g++ libcmocka-dev python3 clang libclang-rt-14-dev qemu-user gcc-aarch64-linux-gnu \
                libc6-dev-arm64-cross mesa-vulkan-drivers vulkan-validationlayers chromium-headless-shell
CTEST = ctest --output-on-failure --no-tests=error
EXAMPLE = examples/tiny

all: build/build.ninja
	@cmake --build build

build/build.ninja:
	@cmake --preset release

demo: build-packages all
	build/qdq sensitivity --low q4_0 --high q8_0 --grad $(EXAMPLE)/gradients.safetensors $(EXAMPLE)/model.safetensors

build-packages:
	@tools/packages.sh $(BUILD_PACKAGES)
test-packages:
	@tools/packages.sh $(TEST_PACKAGES)

# Hostile sizes must come back as errors under the sanitizers, too.
SANITIZED = ^(core_test|files_.*|choose_test|names_test|proofs_test|.*_replay)$$
test: test-packages all
	cd build && $(CTEST)
	cmake --preset asan && cmake --build --preset asan
	cd build-asan && ASAN_OPTIONS=allocator_may_return_null=1 $(CTEST) -R '$(SANITIZED)'

# More: the thread sanitizer, clang, and 64-bit Arm under qemu.
test-more: test
	cmake --preset tsan && cmake --build --preset tsan --target core_test golden
	cd build-tsan && TSAN_OPTIONS=allocator_may_return_null=1 $(CTEST) -R '^(core_test|golden_mask_15)$$'
	cmake --preset clang -DQDQ_BUILD_COMMAND=OFF && cmake --build build-clang --target golden && cd build-clang && $(CTEST)
	cmake --preset aarch64 && cmake --build --preset aarch64 --target golden && cd build-aarch64 && $(CTEST)

install: all
	cmake --install build

format:
	git ls-files '*.c' '*.h' '*.cu' | xargs clang-format -i

clean:
	rm -rf build build-*

.PHONY: all demo test test-more build-packages test-packages install format clean
