# make demo       installs what is missing, builds, and prints the sensitivity of the example's tensors
# make test       likewise, and passes all tests: also under the sanitizers, with clang, for 64-bit Arm and Windows; macOS is linked
# make test-quick likewise, and passes those that a change of every day wants, in a few minutes
# make python     builds the Python wheel, installs it into fresh environments and runs its tests there
# make windows    builds for 64-bit Windows with zig's clang, and passes the tests of the CPU and of the command under wine
# make macos      builds for macOS, Apple silicon and Intel, with zig's clang
# make dist       archives for Linux, macOS and Windows, with their checksums, in build-dist (docs/platforms.md)
# make            builds into build/; the tests too, where what they need is installed
# make format     formats the sources

BUILD_PACKAGES = gcc libc6-dev cmake ninja-build pkg-config libjansson-dev libpcre2-dev glslc spirv-tools libvulkan-dev
QUICK_PACKAGES = $(BUILD_PACKAGES) g++ libcmocka-dev python3 python3-numpy python3-pytest
# zig comes from PyPI, jansson and PCRE2 for other systems from Debian's sources.
CROSS_PACKAGES = gcc libc6-dev cmake ninja-build pkg-config glslc spirv-tools libvulkan-dev curl ca-certificates \
                 xz-utils python3-venv
TEST_PACKAGES = $(QUICK_PACKAGES) $(CROSS_PACKAGES) wine64 clang libclang-rt-14-dev qemu-user gcc-aarch64-linux-gnu \
                libc6-dev-arm64-cross mesa-vulkan-drivers vulkan-validationlayers chromium-headless-shell \
                libopenmpi-dev openmpi-bin libmpich-dev mpich parallel
CTEST = ctest --output-on-failure --no-tests=error
EXAMPLE = examples/tiny
WERROR = OFF

all: build/build.ninja
	@cmake --build build

build/build.ninja:
	@cmake --preset release

# AUTO: whatever an earlier configuration wanted, the demo wants no tests.
demo: build-packages
	cmake --preset release -DQDQ_WERROR=$(WERROR) -DQDQ_BUILD_TESTS=AUTO && cmake --build build --target qdq_command
	build/qdq sensitivity --low q4_0 --high q8_0 --grad $(EXAMPLE)/gradients.safetensors $(EXAMPLE)/model.safetensors

build-packages:
	@tools/packages.sh $(BUILD_PACKAGES)
quick-packages:
	@tools/packages.sh $(QUICK_PACKAGES)
test-packages:
	@tools/packages.sh $(TEST_PACKAGES)

# Each of these configures and builds a folder of its own.
GOLDEN = $(CTEST) -R '^golden_'
GOLDEN_ONLY = -DQDQ_BUILD_COMMAND=OFF -DQDQ_CUDA=OFF -DQDQ_VULKAN=OFF
# Not the devices' tests, the tiers' once more, nor what needs an uninstrumented build.
UNSANITIZED = ^(device_test_.*|vulkan_test.*|(core|proofs)_test_mask_.*|selftest_.*|header_.*|install|symbols|report_browser)$$
SANITIZER_OPTIONS = allocator_may_return_null=1
RELEASE = cmake --preset release -DQDQ_WERROR=$(WERROR) -DQDQ_BUILD_TESTS=ON && cmake --build build
test: test-packages
	$(RELEASE)
	cd build && $(CTEST) -j2
	$(MAKE) test-asan test-tsan test-clang test-aarch64 test-windows test-macos
# Not what is labelled slow: devices in software, every tier once more, a browser.
test-quick: quick-packages
	$(RELEASE)
	cd build && $(CTEST) -j2 -LE slow

# Hostile sizes must come back as errors under the sanitizers, too, and nothing may leak. (Their instrumentation makes
# gcc warn of what it then leaves undone.)
test-asan:
	cmake --preset asan && cmake --build --preset asan
	cd build-asan && ASAN_OPTIONS=$(SANITIZER_OPTIONS):detect_leaks=1 $(CTEST) -j2 -E '$(UNSANITIZED)'
test-tsan:
	cmake --preset tsan && cmake --build --preset tsan --target core_test api_test device_test devices_test golden
	cd build-tsan && TSAN_OPTIONS=$(SANITIZER_OPTIONS) $(CTEST) -j2 -R '^(core_test|api_test|device_test|devices_test|golden_mask_15)$$'
# The bits of another compiler, and of another processor under qemu-user.
test-clang:
	cmake --preset clang $(GOLDEN_ONLY) -DQDQ_WERROR=$(WERROR) && cmake --build --preset clang --target golden
	cd build-clang && $(GOLDEN)
test-aarch64:
	cmake --preset aarch64 $(GOLDEN_ONLY) -DQDQ_WERROR=$(WERROR) && cmake --build --preset aarch64 --target golden
	cd build-aarch64 && $(GOLDEN)

# Other systems, by zig's clang, within some minutes: Windows' C tests, its golden bits at each tier and the essential
# tests of the command, under wine; macOS linked whole, from kernels that are not optimized.
test-windows:
	QDQ_TESTS=essential tools/cross.sh windows-x86_64 -DQDQ_WERROR=$(WERROR) $(MODULES)
test-macos:
	tools/cross.sh macos-arm64 $(UNOPTIMIZED)
	tools/cross.sh macos-x86_64 $(UNOPTIMIZED)
UNOPTIMIZED = -DCMAKE_BUILD_TYPE=Debug -DQDQ_KERNEL_LEVEL=-O0 -DQDQ_WERROR=$(WERROR) $(MODULES)
# Vulkan's modules are those of the build for here.
MADE = $(CURDIR)/build/src/backends/vulkan
MODULES = $(if $(wildcard $(MADE)/copy_spirv.c),-DQDQ_SPIRV=$(MADE),-DQDQ_VULKAN=OFF)

# All that can be built and tested of them.
windows:
	@tools/packages.sh $(CROSS_PACKAGES) wine64
	tools/cross.sh windows-x86_64 -DQDQ_WERROR=$(WERROR)
macos:
	@tools/packages.sh $(CROSS_PACKAGES)
	tools/cross.sh macos-arm64 -DQDQ_WERROR=$(WERROR)
	tools/cross.sh macos-x86_64 -DQDQ_WERROR=$(WERROR)
dist:
	@tools/packages.sh $(CROSS_PACKAGES) git llvm zip
	tools/dist.sh

python: build-packages
	@tools/packages.sh g++ python3-venv
	tools/python_tests.sh

install: all
	cmake --install build

format:
	git ls-files '*.c' '*.h' '*.cu' | xargs clang-format -i

clean:
	rm -rf build build-*

.PHONY: all windows macos dist demo test test-quick test-asan test-tsan test-clang test-aarch64 test-windows test-macos python build-packages quick-packages test-packages install format clean
