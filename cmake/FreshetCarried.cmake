# freshet_carried(TARGET...): programs of bench/gpu, which run on a machine that has a driver, glibc and PyTorch's packages but
# none of the libraries that we build with. With the preset cuda they are part of the target gpu_bench and are installed,
# stripped, by bench/gpu/pack. What they link statically needs no library; what they do not use is not asked for.
include_guard(GLOBAL)

if(FRESHET_CUDA)
  add_custom_target(gpu_bench)
endif()

function(freshet_carried)
  if(NOT FRESHET_CUDA)
    return()
  endif()
  foreach(target ${ARGN})
    target_link_options(${target} PRIVATE -static-libgcc -static-libstdc++ LINKER:--as-needed)
    add_dependencies(gpu_bench ${target})
    install(TARGETS ${target} RUNTIME DESTINATION . COMPONENT gpu_bench EXCLUDE_FROM_ALL)
  endforeach()
endfunction()
