"""Stack traces as each language prints them."""

PYTHON = """\
2026-11-20 10:00:00,123 ERROR in app: Exception on /checkout [POST]
Traceback (most recent call last):
  File "/app/.venv/lib/python3.12/site-packages/flask/app.py", line 1511, in wsgi_app
    response = self.full_dispatch_request()
  File "/app/shop/views.py", line 42, in checkout
    pay(order)
    ~~~^^^^^^^
  File "/app/shop/payments.py", line 17, in pay
    gateway.charge(order.total)
ConnectionError: ('10.0.0.7', 5432): connection refused

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/shop/views.py", line 44, in checkout
    raise PaymentFailed(order.id)
shop.errors.PaymentFailed: order 1234 could not be paid
"""

NODE = """\
TypeError: Cannot read properties of undefined (reading 'id')
    at checkout (/app/src/shop.js:12:5)
    at async Object.handle (file:///app/src/routes/index.mjs:33:1)
    at Layer.handle [as handle_request] (/app/node_modules/express/lib/router/layer.js:95:5)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5) {
  [cause]: Error: connect ECONNREFUSED 10.0.0.7:5432
      at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1555:16)
}
"""

WORKER = """\
Uncaught (in promise) RangeError: Maximum call stack size exceeded
    at fetchOrder (index-4f9ac1b2.js:1:20391)
    at Object.fetch (index-4f9ac1b2.js:1:33)
"""

GO = """\
2026/11/20 10:00:00 listening
panic: runtime error: index out of range [5] with length 3

goroutine 34 [running]:
main.(*Server).handle(0xc0000b6000, {0x10a4f20, 0xc000112000})
\t/build/cmd/shop/server.go:42 +0x1d
github.com/acme/shop/internal/cart.Add[...](...)
\t/build/internal/cart/cart.go:12 +0x5
net/http.HandlerFunc.ServeHTTP(0xc0000b6000?, {0x10a4f20?, 0xc000112000?}, 0x0?)
\t/usr/local/go/src/net/http/server.go:2136 +0x29
created by net/http.(*Server).Serve in goroutine 1
\t/usr/local/go/src/net/http/server.go:3086 +0x5cb
exit status 2
"""

JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: cart 77 is closed
\tat com.acme.shop.Cart.add(Cart.java:42)
\tat com.acme.shop.Shop.lambda$buy$3(Shop.java:17)
\tat java.base/java.util.ArrayList.forEach(ArrayList.java:1511)
\tat org.springframework.web.servlet.DispatcherServlet.doDispatch(DispatcherServlet.java:1089)
Caused by: java.sql.SQLTimeoutException: timed out after 5000 ms
\tat com.acme.shop.Store$$EnhancerBySpringCGLIB$$1f2e3d.save(<generated>)
\t... 12 more
"""

RUBY = """\
app/models/order.rb:12:in `charge': card declined (Payments::Declined)
\tfrom app/controllers/orders_controller.rb:31:in `block (2 levels) in create'
\tfrom /usr/local/bundle/gems/activerecord-7.1.2/lib/active_record/transactions.rb:305:in `transaction'
\tfrom app/controllers/orders_controller.rb:30:in `create'
"""

RAILS = """\
Payments::Declined (card declined):

app/models/order.rb:12:in 'Order#charge'
app/controllers/orders_controller.rb:31:in 'block in OrdersController#create'
"""

PHP = """\
PHP Fatal error:  Uncaught PDOException: SQLSTATE[HY000] [2002] Connection refused in /app/src/Db.php:31
Stack trace:
#0 /app/src/Db.php(31): PDO->__construct('mysql:host=db', 'root', Object(SensitiveParameterValue))
#1 /app/vendor/slim/slim/Slim/App.php(199): App\\Db->connect()
#2 [internal function]: App\\Index->run()
#3 {main}
  thrown in /app/src/Db.php on line 31
"""

RUST = """\
thread 'tokio-runtime-worker' panicked at src/cart.rs:12:5:
index out of bounds: the len is 3 but the index is 99
stack backtrace:
   0: rust_begin_unwind
             at /rustc/9fc6b43126469e3858e2fe86cafb4f0fd5068869/library/std/src/panicking.rs:665:5
   1: core::panicking::panic_fmt
             at /rustc/9fc6b43126469e3858e2fe86cafb4f0fd5068869/library/core/src/panicking.rs:76:14
   2: shop::cart::add::h0123456789abcdef
             at ./src/cart.rs:12:5
   3: tokio::runtime::task::core::Core<T,S>::poll
"""

RUST_SHORT = """\
thread 'main' panicked at 'called `Option::unwrap()` on a `None` value', src/main.rs:4:37
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""

GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/app/work.py", line 3, in main
  |     async with asyncio.TaskGroup() as group:
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/work.py", line 9, in job
    |     raise ValueError(7)
    | ValueError: 7
    +------------------------------------
"""
