# freshet_carried(TARGET...): programs of bench/gpu, which run on a machine that has a driver, glibc and PyTorch's packages but
# none of the libraries that we build with. With the preset cuda they are part of the target gpu_bench, which bench/gpu/pack
# installs, stripped. What they link statically needs no library; what they do not use is not asked for.
#
# freshet_unless_carried(VARIABLE LIBRARY INSTEAD): what a library of ours links: LIBRARY, but INSTEAD (a target, or the name of
# a static library) in a program that is carried.
include_guard(GLOBAL)

if(FRESHET_CUDA)
  add_custom_target(gpu_bench)
endif()

function(freshet_carried)
  if(NOT FRESHET_CUDA)
    return()
  endif()
  foreach(target ${ARGN})
    set_target_properties(${target} PROPERTIES FRESHET_CARRIED ON)
    target_link_options(${target} PRIVATE -static-libgcc -static-libstdc++ LINKER:--as-needed)
    # In front of what comes from our libraries: GoogleTest asks for functions of std::string, and the linker would take the
    # first object of ours that happens to define them, with all that it needs.
    target_link_libraries(${target} PRIVATE -l:libstdc++.a)
    add_dependencies(gpu_bench ${target})
    install(TARGETS ${target} RUNTIME DESTINATION . COMPONENT gpu_bench EXCLUDE_FROM_ALL)
  endforeach()
endfunction()

function(freshet_unless_carried variable library instead)
  if(FRESHET_CUDA)
    if(NOT TARGET ${instead})
      find_library(FRESHET_STATIC_${instead} "${instead}" REQUIRED)
      mark_as_advanced(FRESHET_STATIC_${instead})
      set(instead "${FRESHET_STATIC_${instead}}")
    endif()
    set(library "$<IF:$<BOOL:$<TARGET_PROPERTY:FRESHET_CARRIED>>,${instead},${library}>")
  endif()
  set(${variable} "${library}" PARENT_SCOPE)
endfunction()
