#include "doctor/listener.h"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "os/fd.h"

using namespace nixery::doctor;

TEST_CASE("sockets that listen at a port are distinguished from connected ones") {
  constexpr std::string_view table =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 "
      "0\n"
      "   1: 0100007F:1F90 0100007F:A3C2 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 20 4 0 10 "
      "-1\n"
      "   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 103 1 0 100 0 0 10 "
      "0\n"
      "torn\n";
  CHECK(listening_inodes(table, std::uint16_t{8080}) == std::vector<std::uint64_t>{101});
  CHECK(listening_inodes(table, std::uint16_t{80}) == std::vector<std::uint64_t>{103});
  CHECK(listening_inodes(table, std::uint16_t{443}).empty());
}

TEST_CASE("so are Unix sockets") {
  constexpr std::string_view table =
      "Num       RefCount Protocol Flags    Type St Inode Path\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 201 /run/nixery/nixery.sock\n"
      "0000000000000000: 00000003 00000000 00000000 0001 03 202 /run/nixery/nixery.sock\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 203 /run/other\n";
  CHECK(listening_inodes(table, "/run/nixery/nixery.sock") == std::vector<std::uint64_t>{201});
  CHECK(listening_inodes(table, "/run/none").empty());
}

TEST_CASE("the program that listens at a port is found") {
  const nixery::os::Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const std::string where = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  CHECK_FALSE(listener_at(where));
  REQUIRE(listen(fd.get(), 1) == 0);
  const auto found = listener_at(where);
  REQUIRE(found);
  CHECK(found->pid == getpid());
  CHECK(found->program == "unit-tests");
  CHECK_FALSE(listener_at("nowhere"));
}
