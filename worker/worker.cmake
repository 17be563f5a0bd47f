# The program. The command line is a room of its own, so that tests can link it; it is linked whole, because the verb table
# refers to its verbs weakly.
file(GLOB found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/worker/cli/*.c)
add_library(mr_cli STATIC ${found})
target_link_libraries(mr_cli PUBLIC mr_worker mr_sim)
target_compile_definitions(mr_cli PRIVATE MILLRACE_VERSION="${PROJECT_VERSION}")

add_executable(millrace ${PROJECT_SOURCE_DIR}/worker/main.c)
target_link_libraries(millrace PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,mr_cli>")
if(MILLRACE_ADAPTERS AND TARGET mr_adapters)
  target_link_libraries(millrace PRIVATE mr_adapters)
  target_compile_definitions(millrace PRIVATE MILLRACE_ADAPTERS)
endif()

# The manual comes from the program's own tables.
set(manual ${PROJECT_BINARY_DIR}/millrace.1 ${PROJECT_BINARY_DIR}/millrace.conf.5 ${PROJECT_BINARY_DIR}/millrace-jobs.7)
add_custom_command(OUTPUT ${manual}
                   COMMAND millrace --manual > ${PROJECT_BINARY_DIR}/millrace.1
                   COMMAND millrace --manual options > ${PROJECT_BINARY_DIR}/millrace.conf.5
                   COMMAND millrace --manual jobs > ${PROJECT_BINARY_DIR}/millrace-jobs.7
                   DEPENDS millrace)
add_custom_target(manual ALL DEPENDS ${manual})

include(GNUInstallDirs)
install(TARGETS millrace RUNTIME)
install(FILES ${PROJECT_BINARY_DIR}/millrace.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${PROJECT_BINARY_DIR}/millrace.conf.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES ${PROJECT_BINARY_DIR}/millrace-jobs.7 DESTINATION ${CMAKE_INSTALL_MANDIR}/man7)
install(FILES ${PROJECT_SOURCE_DIR}/deploy/systemd/millrace.service DESTINATION lib/systemd/system)
install(FILES ${PROJECT_SOURCE_DIR}/deploy/millrace.conf DESTINATION ${CMAKE_INSTALL_DOCDIR})
