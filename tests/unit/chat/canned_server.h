// Answers each connection with the next of some prepared byte strings.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <string>
#include <thread>
#include <vector>

namespace krasis::test {

class CannedServer {
 public:
  // With `hold`, the last connection stays open until the client leaves.
  explicit CannedServer(std::vector<std::string> answers, bool hold = false)
      : acceptor_(context_, {boost::asio::ip::make_address("127.0.0.1"), 0}),
        thread_([this, answers = std::move(answers), hold] { serve(answers, hold); }) {}
  CannedServer(const CannedServer&) = delete;
  CannedServer& operator=(const CannedServer&) = delete;
  ~CannedServer() { thread_.join(); }

  int port() const { return acceptor_.local_endpoint().port(); }

  // What the clients sent; after they have all been served.
  const std::vector<std::string>& requests() {
    thread_.join();
    thread_ = std::thread([] {});
    return requests_;
  }

 private:
  void serve(const std::vector<std::string>& answers, bool hold) {
    for (std::size_t i = 0; i < answers.size(); ++i) {
      boost::asio::ip::tcp::socket socket(context_);
      acceptor_.accept(socket);
      requests_.push_back(read_request(socket));
      boost::system::error_code ignored;
      boost::asio::write(socket, boost::asio::buffer(answers[i]), ignored);
      char byte = 0;
      if (hold && i + 1 == answers.size())
        boost::asio::read(socket, boost::asio::buffer(&byte, 1), ignored);
    }
  }

  static std::string read_request(boost::asio::ip::tcp::socket& socket) {
    std::string bytes;
    boost::system::error_code problem;
    boost::asio::read_until(socket, boost::asio::dynamic_buffer(bytes), "\r\n\r\n", problem);
    const std::size_t header = bytes.find("\r\n\r\n") + 4;
    const std::size_t field = bytes.find("Content-Length: ");
    if (field >= header) return bytes;
    const std::size_t wanted = header + std::stoul(bytes.substr(field + 16));
    if (bytes.size() < wanted) {
      boost::asio::read(socket, boost::asio::dynamic_buffer(bytes),
                        boost::asio::transfer_exactly(wanted - bytes.size()), problem);
    }
    return bytes;
  }

  boost::asio::io_context context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

inline std::string http_answer(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + body;
}

inline std::string stream_answer(const std::string& events) {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + events;
}

}  // namespace krasis::test
