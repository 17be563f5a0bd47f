# What differs by machine in the kernels' room.

# Files named *_avx2.c hold the AVX2 path: compiled for it here, chosen at run time by kernels/cpu/ops_cpu.c.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  file(GLOB avx2_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cpu/*_avx2.c)
  set_source_files_properties(${avx2_sources} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mpopcnt;-O3")
endif()
