// A TLS server for one connection, with a certificate of its own making, for the tests of the outbound client.
#pragma once

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "tests/unit/net/scripted_server.h"

namespace freshet::net::test {

// A self-signed certificate for the name, and its key. The certificate is also written as PEM.
struct Certificate {
  explicit Certificate(const std::string& name, const std::filesystem::path& file)
      : key(EVP_EC_gen("P-256"), EVP_PKEY_free), certificate(X509_new(), X509_free) {
    X509* x509 = certificate.get();
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -60);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(x509, X509_get_subject_name(x509));
    const std::string names = "DNS:" + name;
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    EXPECT_GT(X509_sign(x509, key.get(), EVP_sha256()), 0);
    FILE* out = std::fopen(file.c_str(), "w");
    EXPECT_EQ(PEM_write_X509(out, x509), 1);
    std::fclose(out);
  }

  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key;
  std::unique_ptr<X509, decltype(&X509_free)> certificate;
};

// Answers one request with 204; a handshake that fails is the client's affair.
class TlsServer {
 public:
  explicit TlsServer(const Certificate& certificate)
      : context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free), server_(1, [this](int fd) { serve(fd); }) {
    SSL_CTX_use_certificate(context_.get(), certificate.certificate.get());
    SSL_CTX_use_PrivateKey(context_.get(), certificate.key.get());
  }
  std::string url(const std::string& host) const { return "https://" + host + ":" + std::to_string(server_.port()); }
  // Of the request, once the server has ended.
  const std::string& received() const { return received_; }

 private:
  void serve(int fd) {
    std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context_.get()), SSL_free);
    SSL_set_fd(ssl.get(), fd);
    if (SSL_accept(ssl.get()) != 1) return;
    char piece[4096];
    while (received_.find("\r\n\r\n") == std::string::npos) {
      int got = SSL_read(ssl.get(), piece, sizeof(piece));
      if (got <= 0) return;
      received_.append(piece, static_cast<size_t>(got));
    }
    const std::string answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    SSL_write(ssl.get(), answer.data(), static_cast<int>(answer.size()));
    SSL_shutdown(ssl.get());
  }

  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::string received_;
  RawServer server_;
};

}  // namespace freshet::net::test
