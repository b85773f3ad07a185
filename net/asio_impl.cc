// The bodies of Asio and Beast, compiled here and nowhere else, so that the files that use them stay quick to build.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
