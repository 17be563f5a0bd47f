# What differs by machine in the kernels' room.

# Files named *_avx2.c and *_avx512.c hold those paths: compiled for them here, chosen at run time by kernels/cpu/path.c.
# Under sanitizers -O3 makes them ten times as long to compile (half a minute a file).
set(path_level -O3)
if(MILLRACE_SANITIZE)
  set(path_level -O1)
endif()
if(MILLRACE_FUZZ) # no fuzzer computes with them, and clang takes three minutes to watch them
  list(APPEND path_level -fno-sanitize=all)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  file(GLOB avx2_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cpu/*_avx2.c)
  set_source_files_properties(${avx2_sources} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mpopcnt;${path_level}")
  file(GLOB avx512_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cpu/*_avx512.c)
  set_source_files_properties(${avx512_sources} PROPERTIES COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mfma;${path_level}")
endif()

# The CUDA half, where cuda.cmake found a toolkit: all of kernels/cuda in place of cuda_absent.c.
if(CMAKE_CUDA_COMPILER)
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
  get_target_property(kernel_sources mr_kernels SOURCES)
  list(FILTER kernel_sources EXCLUDE REGEX "cuda_absent\\.c$")
  set_property(TARGET mr_kernels PROPERTY SOURCES ${kernel_sources} ${cuda_sources})
  target_compile_options(mr_kernels PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>)
  target_include_directories(mr_kernels PRIVATE ${MILLRACE_CUDA_INCLUDE})
  target_link_libraries(mr_kernels PUBLIC ${MILLRACE_CUBLASLT} ${MILLRACE_CUDART} dl rt stdc++)
endif()

# Times of the CPU ops against the machine's ceilings: build/tests/kernels_bench.
if(MILLRACE_TESTS)
  add_executable(kernels_bench EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/bench/kernels_bench.c)
  target_link_libraries(kernels_bench PRIVATE mr_kernels)
  set_target_properties(kernels_bench PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
endif()
