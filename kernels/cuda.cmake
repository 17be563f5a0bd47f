# Finds a CUDA toolkit, before any target exists. MILLRACE_CUDA=AUTO takes one when it is there, ON insists, OFF leaves it.
# MILLRACE_CUDA_ROOT names its folder (/usr/local/cuda, or what deploy/get-cuda made). cudart is linked statically;
# libcublasLt is the target machine's own.
set(MILLRACE_CUDA_ROOT "" CACHE PATH "CUDA toolkit's folder")

if(MILLRACE_CUDA)
  find_program(MILLRACE_NVCC nvcc HINTS ${MILLRACE_CUDA_ROOT}/bin /usr/local/cuda/bin)
  if(MILLRACE_NVCC)
    get_filename_component(cuda_bin ${MILLRACE_NVCC} DIRECTORY)
    get_filename_component(cuda_root ${cuda_bin} DIRECTORY)
    set(MILLRACE_CUDA_INCLUDE ${cuda_root}/include)
    find_library(MILLRACE_CUBLASLT cublasLt HINTS ${cuda_root}/lib64 ${cuda_root}/lib)
    find_library(MILLRACE_CUDART cudart_static HINTS ${cuda_root}/lib64 ${cuda_root}/lib)
  endif()
  if(MILLRACE_NVCC AND MILLRACE_CUBLASLT AND MILLRACE_CUDART)
    set(CMAKE_CUDA_COMPILER ${MILLRACE_NVCC})
    set(CMAKE_CUDA_ARCHITECTURES 90a) # wgmma and TMA exist for sm_90a alone
    set(CMAKE_CUDA_RUNTIME_LIBRARY None)
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O3 -DNDEBUG")
    enable_language(CUDA)
    message(STATUS "CUDA kernels: yes (${MILLRACE_NVCC})")
  elseif(MILLRACE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MILLRACE_CUDA=ON, but nvcc, libcublasLt or libcudart_static was not found; deploy/get-cuda brings them")
  else()
    message(STATUS "CUDA kernels: no toolkit found")
  endif()
endif()
