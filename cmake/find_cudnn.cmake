# Finds the headers of CUDA and cuDNN. No binary of this project links them: they are loaded at run
# time. Without the headers everything but cudnn/, the worker's GPU timer, the shim and the example
# is built. Sets REFORMER_HAVE_CUDNN and the interface target reformer_cudnn_headers.
#
# Looked at, in this order: -DREFORMER_CUDNN_ROOT, /usr/local/cuda, the distribution's folders, the
# nvidia/* folders of Python wheels (-DREFORMER_PYTHON_SITE or the running Python's site-packages).
set(REFORMER_CUDNN_ROOT "" CACHE PATH "Folder with include/cudnn.h, if not in a usual place")

file(GLOB _wheel_roots
     /usr/lib/python3*/site-packages/nvidia/* /usr/local/lib/python3*/*-packages/nvidia/*
     $ENV{VIRTUAL_ENV}/lib/python3*/site-packages/nvidia/* ${REFORMER_PYTHON_SITE}/nvidia/*)
find_path(REFORMER_CUDNN_INCLUDE cudnn.h
          HINTS ${REFORMER_CUDNN_ROOT} /usr/local/cuda ${_wheel_roots} /usr /usr/local
          PATH_SUFFIXES include include/x86_64-linux-gnu)
find_path(REFORMER_CUDA_INCLUDE cuda_runtime_api.h
          HINTS ${REFORMER_CUDNN_ROOT} /usr/local/cuda ${_wheel_roots} /usr /usr/local
          PATH_SUFFIXES include targets/x86_64-linux/include)

if(REFORMER_CUDNN_INCLUDE AND REFORMER_CUDA_INCLUDE)
  set(REFORMER_HAVE_CUDNN TRUE)
  add_library(reformer_cudnn_headers INTERFACE)
  target_include_directories(reformer_cudnn_headers SYSTEM INTERFACE ${REFORMER_CUDNN_INCLUDE}
                                                                     ${REFORMER_CUDA_INCLUDE})
  message(STATUS "cuDNN headers: ${REFORMER_CUDNN_INCLUDE}; CUDA headers: ${REFORMER_CUDA_INCLUDE}")
else()
  set(REFORMER_HAVE_CUDNN FALSE)
  message(WARNING "cuDNN or CUDA headers not found: leaving out cudnn/, the worker's GPU timer, the "
                  "cuDNN shim, the sweep and the example. scripts/setup says how to get them.")
endif()

find_library(REFORMER_CUDNN_LIBRARY NAMES libcudnn.so.9 cudnn
             HINTS ${REFORMER_CUDNN_ROOT} /usr/local/cuda ${_wheel_roots} /usr /usr/local
             PATH_SUFFIXES lib lib64 lib/x86_64-linux-gnu targets/x86_64-linux/lib)
