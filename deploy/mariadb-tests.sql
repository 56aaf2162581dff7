-- Each run of the tests makes a database of its own.
GRANT ALL ON `test\_%`.* TO 'evenkeel'@'%';
